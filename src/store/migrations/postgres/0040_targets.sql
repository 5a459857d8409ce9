-- The account of a user at a target, and the work that is due for it. It refers to no user, because the account of a
-- removed user still has to be deactivated.
CREATE TABLE counterparts (
    target            TEXT NOT NULL,
    user_id           BYTEA NOT NULL,
    state             TEXT NOT NULL,
    remote_id         TEXT,
    origin            TEXT NOT NULL,
    sent              BIGINT,
    echo              BIGINT,
    active            BIGINT,
    deactivated_by_us BIGINT NOT NULL,
    user_name         TEXT,
    due_at            BIGINT,
    due_since         BIGINT,
    lane              BIGINT NOT NULL,
    due_seq           BIGINT NOT NULL,
    due_run           BYTEA,
    is_followed       BIGINT NOT NULL,
    admitted          TEXT NOT NULL,
    attempts          BIGINT NOT NULL,
    failing_since     BIGINT,
    problem           TEXT,
    answer            TEXT,
    sent_at           BIGINT,
    seen_at           BIGINT,
    found_at          BIGINT,
    PRIMARY KEY (target, user_id)
);
CREATE UNIQUE INDEX counterparts_remote ON counterparts (target, remote_id) WHERE remote_id IS NOT NULL;
CREATE INDEX counterparts_due ON counterparts (target, lane, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX counterparts_user ON counterparts (user_id);

CREATE TABLE targets (
    name              TEXT NOT NULL PRIMARY KEY,
    account           TEXT NOT NULL,
    rules_hash        TEXT,
    plan_only_since   BIGINT,
    paused_until      BIGINT,
    paused_at         BIGINT,
    refused           TEXT,
    capabilities      TEXT,
    last_attempt      BIGINT,
    last_success      BIGINT,
    last_complete_run BIGINT,
    listed            BIGINT
);

-- Accounts that are no counterpart. Each complete run replaces them.
CREATE TABLE unmanaged_accounts (
    target    TEXT NOT NULL,
    remote_id TEXT NOT NULL,
    user_name TEXT,
    active    BIGINT,
    user_id   BYTEA,
    PRIMARY KEY (target, remote_id)
);

-- The groups of a target, and the members that rosterd added.
CREATE TABLE target_groups (
    target    TEXT NOT NULL,
    name      TEXT NOT NULL,
    remote_id TEXT NOT NULL,
    PRIMARY KEY (target, name)
);

CREATE TABLE target_members (
    target     TEXT NOT NULL,
    group_name TEXT NOT NULL,
    user_id    BYTEA NOT NULL,
    remote_id  TEXT NOT NULL,
    PRIMARY KEY (target, group_name, user_id)
);

-- A rejection of a target's step belongs to the target, whatever directory its user is linked to.
ALTER TABLE rejections ADD COLUMN of_target BIGINT NOT NULL DEFAULT 0;
