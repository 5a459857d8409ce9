-- The account of a user at a target, and the work that is due for it. It refers to no user, because the account of a
-- removed user still has to be deactivated.
CREATE TABLE counterparts (
    target            TEXT NOT NULL,
    user_id           BLOB NOT NULL,
    state             TEXT NOT NULL,
    remote_id         TEXT,
    origin            TEXT NOT NULL,
    sent              INTEGER,
    echo              INTEGER,
    active            INTEGER,
    deactivated_by_us INTEGER NOT NULL,
    user_name         TEXT,
    due_at            INTEGER,
    due_since         INTEGER,
    lane              INTEGER NOT NULL,
    due_seq           INTEGER NOT NULL,
    due_run           BLOB,
    is_followed       INTEGER NOT NULL,
    admitted          TEXT NOT NULL,
    attempts          INTEGER NOT NULL,
    failing_since     INTEGER,
    problem           TEXT,
    answer            TEXT,
    sent_at           INTEGER,
    seen_at           INTEGER,
    found_at          INTEGER,
    PRIMARY KEY (target, user_id)
) STRICT;
CREATE UNIQUE INDEX counterparts_remote ON counterparts (target, remote_id) WHERE remote_id IS NOT NULL;
CREATE INDEX counterparts_due ON counterparts (target, lane, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX counterparts_user ON counterparts (user_id);

CREATE TABLE targets (
    name              TEXT NOT NULL PRIMARY KEY,
    account           TEXT NOT NULL,
    rules_hash        TEXT,
    plan_only_since   INTEGER,
    paused_until      INTEGER,
    paused_at         INTEGER,
    refused           TEXT,
    capabilities      TEXT,
    last_attempt      INTEGER,
    last_success      INTEGER,
    last_complete_run INTEGER,
    listed            INTEGER
) STRICT;

-- Accounts that are no counterpart. Each complete run replaces them.
CREATE TABLE unmanaged_accounts (
    target    TEXT NOT NULL,
    remote_id TEXT NOT NULL,
    user_name TEXT,
    active    INTEGER,
    user_id   BLOB,
    PRIMARY KEY (target, remote_id)
) STRICT;

-- The groups of a target, and the members that rosterd added.
CREATE TABLE target_groups (
    target    TEXT NOT NULL,
    name      TEXT NOT NULL,
    remote_id TEXT NOT NULL,
    PRIMARY KEY (target, name)
) STRICT;

CREATE TABLE target_members (
    target     TEXT NOT NULL,
    group_name TEXT NOT NULL,
    user_id    BLOB NOT NULL,
    remote_id  TEXT NOT NULL,
    PRIMARY KEY (target, group_name, user_id)
) STRICT;

-- A rejection of a target's step belongs to the target, whatever directory its user is linked to.
ALTER TABLE rejections ADD COLUMN of_target INTEGER NOT NULL DEFAULT 0;
