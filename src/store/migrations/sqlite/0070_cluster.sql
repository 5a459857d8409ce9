-- Since when the leader leads, and who is to lead instead of it: a node, or '' for any other one.
ALTER TABLE leaders ADD COLUMN since  INTEGER NOT NULL DEFAULT 0;
ALTER TABLE leaders ADD COLUMN wanted TEXT;

-- Each rosterd on this store writes its own row, by the clock of the database.
CREATE TABLE nodes (
    node          TEXT NOT NULL PRIMARY KEY,
    version       TEXT NOT NULL,
    configuration TEXT NOT NULL,
    takeover      INTEGER NOT NULL,
    health        TEXT NOT NULL,
    heard         INTEGER NOT NULL
);
