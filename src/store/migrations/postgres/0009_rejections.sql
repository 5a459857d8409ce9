-- Rejected changes. Every run holds them until the directory no longer asks for them, or an operator
-- reopens the plan. scope_pending: the scope of the plan was not accepted.
CREATE TABLE rejections (
    rejection_key BYTEA NOT NULL PRIMARY KEY,
    plan_id       BYTEA NOT NULL,
    digest        BYTEA NOT NULL,
    directory     TEXT NOT NULL,
    user_id       BYTEA NOT NULL,
    guid          BYTEA,
    kind          TEXT NOT NULL,
    reason        TEXT,
    cluster       TEXT,
    scope_pending BIGINT NOT NULL
);
CREATE INDEX rejections_plan ON rejections (plan_id, digest);
CREATE INDEX rejections_user ON rejections (user_id);

-- People of plans that ended before a run covered them: the next run reads them again.
CREATE TABLE pending_people (
    directory TEXT NOT NULL,
    guid      BYTEA NOT NULL,
    PRIMARY KEY (directory, guid)
);

-- Every update compares the version, so that a lost race is reported and overwrites nothing.
ALTER TABLE plans ADD COLUMN version BIGINT NOT NULL DEFAULT 0;
ALTER TABLE directories ADD COLUMN baseline BIGINT NOT NULL DEFAULT 0;

-- Changes of a user that was removed since. A user with such an id now is another one.
ALTER TABLE changes ADD COLUMN former BIGINT NOT NULL DEFAULT 0;
UPDATE changes SET former = 1 WHERE outcome <> 'held' AND EXISTS (SELECT 1 FROM changes AS r WHERE r.user_id = changes.user_id
    AND r.kind = 'remove' AND r.outcome = 'applied' AND r.at >= changes.at);

-- At most one plan of a directory is open or approved. Of two, the newer one stays, and the people of
-- the other are read again.
UPDATE plans SET state = 'superseded' WHERE state IN ('open', 'approved') AND EXISTS (SELECT 1 FROM plans AS n
    WHERE n.directory = plans.directory AND n.state IN ('open', 'approved')
    AND (n.created_at > plans.created_at OR (n.created_at = plans.created_at AND n.id > plans.id)));
CREATE UNIQUE INDEX plans_waiting ON plans (directory) WHERE state IN ('open', 'approved');
INSERT INTO pending_people (directory, guid) SELECT DISTINCT p.directory, c.guid FROM plans p JOIN changes c ON c.plan_id = p.id
    WHERE c.outcome = 'held' AND c.guid IS NOT NULL AND p.state IN ('superseded', 'expired');
