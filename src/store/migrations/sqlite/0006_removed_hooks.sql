-- How long a hook's deliveries are tried, in microseconds, and since when it has not been configured any more: for so
-- long after that they wait for it to come back.
ALTER TABLE hooks ADD COLUMN max_age INTEGER NOT NULL DEFAULT 604800000000;
ALTER TABLE hooks ADD COLUMN removed_at INTEGER;
-- Every hook that anything is to be delivered to is known.
INSERT INTO hooks (name, delivered) SELECT DISTINCT hook, 0 FROM deliveries WHERE hook NOT IN (SELECT name FROM hooks);

-- A program of a hook is found by its environment if rosterd is killed, and needs no note.
DROP INDEX deliveries_running;
ALTER TABLE deliveries DROP COLUMN process_group;
ALTER TABLE deliveries DROP COLUMN process_start;
