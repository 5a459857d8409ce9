-- Observations are ordered by a number that only grows, because clocks are set back. It begins above
-- every instant that ordered them before.
CREATE TABLE counters (
    name  TEXT NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO counters (name, value) SELECT 'observation', COALESCE(MAX(observed_from), 0) FROM users;

-- The first observation is stored per cause. Rows of the class "gone" have no cause, so their grace
-- period begins anew.
CREATE TABLE settling_by_cause (
    directory  TEXT NOT NULL,
    user_id    BYTEA NOT NULL,
    cause      TEXT NOT NULL,
    guid       BYTEA NOT NULL,
    first_seen BIGINT NOT NULL,
    due        BIGINT,
    cluster    TEXT,
    PRIMARY KEY (directory, user_id, cause)
);
INSERT INTO settling_by_cause (directory, user_id, cause, guid, first_seen, due, cluster)
    SELECT directory, user_id, 'downgrade', guid, first_seen, due, cluster FROM settling WHERE class = 'downgrade';
UPDATE people SET fingerprint = 0
    WHERE EXISTS (SELECT 1 FROM settling s WHERE s.directory = people.directory AND s.guid = people.guid);
DROP TABLE settling;
ALTER TABLE settling_by_cause RENAME TO settling;

-- The beginning of a pause, so that a pause of four hours stays one when the clock is set back.
ALTER TABLE directories ADD COLUMN paused_at BIGINT;

-- Clusters are counted over the window.
CREATE INDEX changes_cluster ON changes (directory, cluster, at) WHERE outcome = 'applied' AND cluster IS NOT NULL;
