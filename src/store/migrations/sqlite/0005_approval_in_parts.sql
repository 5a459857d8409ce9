-- A run that took another one back.
ALTER TABLE runs ADD COLUMN undoes BLOB;
CREATE INDEX runs_undoing ON runs (undoes) WHERE undoes IS NOT NULL;

-- What whoever approved or rejected a plan said, and when operators were last told that it waits. Which of its changes
-- are approved, the changes say: `approved` of those that are held.
ALTER TABLE plans ADD COLUMN comment TEXT;
ALTER TABLE plans ADD COLUMN announced_at INTEGER;
UPDATE changes SET approved = 1 WHERE outcome = 'held' AND plan_id IN (SELECT id FROM plans WHERE state = 'approved');
UPDATE plans SET announced_at = created_at;

-- What the event log begins after, once its beginning was given up: the place and the hash of the last entry that is gone.
CREATE TABLE log_begins (
    seq  INTEGER NOT NULL PRIMARY KEY,
    hash BLOB NOT NULL
) STRICT;
