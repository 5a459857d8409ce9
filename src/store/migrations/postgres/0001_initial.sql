-- Times are microseconds since 1970 (UTC), ids 16 bytes, JSON is text. No other column types, so that the
-- same queries run on SQLite (see ../sqlite).

CREATE TABLE accounts (
    id         BYTEA NOT NULL PRIMARY KEY,
    handle     TEXT NOT NULL UNIQUE,
    name       TEXT NOT NULL,
    kind       TEXT NOT NULL,
    policies   TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE claims (
    id          BYTEA NOT NULL PRIMARY KEY,
    account_id  BYTEA NOT NULL REFERENCES accounts (id),
    domain      TEXT NOT NULL,
    state       TEXT NOT NULL,
    token       TEXT NOT NULL,
    claimed_at  BIGINT NOT NULL,
    verified_at BIGINT,
    checked_at  BIGINT,
    finding     TEXT
);
-- At most one account holds a domain verified, and no account claims it twice.
CREATE UNIQUE INDEX claims_holder ON claims (domain) WHERE state IN ('verified', 'lapsed');
CREATE UNIQUE INDEX claims_once ON claims (account_id, domain) WHERE state <> 'released';

CREATE TABLE users (
    id            BYTEA NOT NULL PRIMARY KEY,
    account_id    BYTEA NOT NULL REFERENCES accounts (id),
    standing      TEXT NOT NULL,
    status        TEXT NOT NULL,
    tier          TEXT NOT NULL,
    addresses     TEXT NOT NULL,
    profile       TEXT NOT NULL,
    directory     TEXT,
    guid          BYTEA,
    dn            TEXT,
    causes        TEXT NOT NULL,
    pins          TEXT NOT NULL,
    version       BIGINT NOT NULL,
    observed_from BIGINT NOT NULL,
    invited_at    BIGINT,
    joined_at     BIGINT,
    created_at    BIGINT NOT NULL,
    updated_at    BIGINT NOT NULL
);
CREATE UNIQUE INDEX users_person ON users (directory, guid) WHERE directory IS NOT NULL;
CREATE INDEX users_listed ON users (account_id, status, id);

-- Who holds which address; unique in the store.
CREATE TABLE addresses (
    address_key TEXT NOT NULL PRIMARY KEY,
    user_id     BYTEA NOT NULL REFERENCES users (id),
    is_primary  BIGINT NOT NULL
);
CREATE INDEX addresses_user ON addresses (user_id);

-- Folded words of names and addresses, for prefix search.
CREATE TABLE name_keys (
    name_key TEXT COLLATE "C" NOT NULL,
    user_id  BYTEA NOT NULL REFERENCES users (id),
    PRIMARY KEY (name_key, user_id)
);
CREATE INDEX name_keys_user ON name_keys (user_id);

-- What is remembered of an entry beside its user. Fingerprint 0: look again.
CREATE TABLE people (
    directory      TEXT NOT NULL,
    guid           BYTEA NOT NULL,
    fingerprint    BIGINT NOT NULL,
    user_id        BYTEA,
    dn             TEXT NOT NULL,
    parent_key     TEXT NOT NULL,
    expires        BIGINT,
    entitled_by    BYTEA,
    quarantine     TEXT,
    quarantined_at BIGINT,
    seen_at        BIGINT NOT NULL,
    PRIMARY KEY (directory, guid)
);
CREATE INDEX people_user ON people (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX people_quarantined ON people (directory, quarantined_at) WHERE quarantine IS NOT NULL;
CREATE INDEX people_expiring ON people (directory, expires) WHERE expires IS NOT NULL;

-- "Gone" and "downgrade" candidates, until a second look.
CREATE TABLE settling (
    directory  TEXT NOT NULL,
    user_id    BYTEA NOT NULL,
    class      TEXT NOT NULL,
    guid       BYTEA NOT NULL,
    first_seen BIGINT NOT NULL,
    due        BIGINT,
    cluster    TEXT,
    PRIMARY KEY (directory, user_id, class)
);

CREATE TABLE directories (
    name               TEXT NOT NULL PRIMARY KEY,
    paused_until       BIGINT,
    server             TEXT,
    identity           TEXT,
    server_changed_at  BIGINT,
    counts             TEXT,
    scope_hash         TEXT,
    plan_only_since    BIGINT,
    rights_lost        TEXT,
    last_attempt       BIGINT,
    last_success       BIGINT,
    last_complete_read BIGINT,
    entries            BIGINT,
    bind_refused       TEXT
);

-- What configuration names, bound to the object it meant when it was first resolved.
CREATE TABLE pins (
    directory TEXT NOT NULL,
    kind      TEXT NOT NULL,
    name      TEXT NOT NULL,
    guid      BYTEA NOT NULL,
    detail    TEXT NOT NULL,
    PRIMARY KEY (directory, kind, name, guid)
);

CREATE TABLE runs (
    id           BYTEA NOT NULL PRIMARY KEY,
    directory    TEXT NOT NULL,
    origin       TEXT NOT NULL,
    mode         TEXT NOT NULL,
    state        TEXT NOT NULL,
    actor        TEXT,
    started_at   BIGINT NOT NULL,
    finished_at  BIGINT,
    entries      BIGINT NOT NULL,
    complete     BIGINT NOT NULL,
    server       TEXT,
    counts       TEXT NOT NULL,
    held         BIGINT NOT NULL,
    quarantined  BIGINT NOT NULL,
    dropped      BIGINT NOT NULL,
    error        TEXT,
    warnings     TEXT NOT NULL,
    active_after BIGINT,
    approves     BYTEA
);
CREATE INDEX runs_listed ON runs (directory, started_at);

CREATE TABLE plans (
    id          BYTEA NOT NULL PRIMARY KEY,
    directory   TEXT NOT NULL,
    run_id      BYTEA NOT NULL,
    digest      BYTEA NOT NULL,
    size        BIGINT NOT NULL,
    state       TEXT NOT NULL,
    created_at  BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL,
    actor       TEXT,
    approved_at BIGINT
);
CREATE INDEX plans_listed ON plans (directory, created_at);

-- Every change that was applied, held or dropped; held plans, budgets and history are queries over it.
CREATE TABLE changes (
    run_id    BYTEA NOT NULL,
    seq       BIGINT NOT NULL,
    plan_id   BYTEA,
    directory TEXT NOT NULL,
    kind      TEXT NOT NULL,
    class     TEXT,
    user_id   BYTEA NOT NULL,
    guid      BYTEA,
    email     TEXT,
    reason    TEXT,
    before    TEXT NOT NULL,
    after     TEXT NOT NULL,
    evidence  TEXT NOT NULL,
    digest    BYTEA NOT NULL,
    cluster   TEXT,
    hold      TEXT,
    outcome   TEXT NOT NULL,
    approved  BIGINT NOT NULL,
    at        BIGINT NOT NULL,
    PRIMARY KEY (run_id, seq)
);
CREATE INDEX changes_budget ON changes (directory, class, at) WHERE outcome = 'applied' AND approved = 0;
CREATE INDEX changes_plan ON changes (plan_id, digest) WHERE plan_id IS NOT NULL;
CREATE INDEX changes_user ON changes (user_id, at);

-- Append-only. hash = sha256(hash before || document).
CREATE TABLE events (
    seq      BIGINT NOT NULL PRIMARY KEY,
    id       BYTEA NOT NULL,
    kind     TEXT NOT NULL,
    subject  TEXT NOT NULL,
    run_id   BYTEA,
    at       BIGINT NOT NULL,
    document TEXT NOT NULL,
    hash     BYTEA NOT NULL
);
CREATE INDEX events_subject ON events (subject, seq);
CREATE INDEX events_run ON events (run_id) WHERE run_id IS NOT NULL;
