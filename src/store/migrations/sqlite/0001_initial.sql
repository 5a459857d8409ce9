-- Times are microseconds since 1970 (UTC), ids 16 bytes, JSON is text. No other column types, so that the
-- same queries run on PostgreSQL (see ../postgres).

CREATE TABLE accounts (
    id         BLOB NOT NULL PRIMARY KEY,
    handle     TEXT NOT NULL UNIQUE,
    name       TEXT NOT NULL,
    kind       TEXT NOT NULL,
    policies   TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE claims (
    id          BLOB NOT NULL PRIMARY KEY,
    account_id  BLOB NOT NULL REFERENCES accounts (id),
    domain      TEXT NOT NULL,
    state       TEXT NOT NULL,
    token       TEXT NOT NULL,
    claimed_at  INTEGER NOT NULL,
    verified_at INTEGER,
    checked_at  INTEGER,
    finding     TEXT
) STRICT;
-- At most one account holds a domain verified, and no account claims it twice.
CREATE UNIQUE INDEX claims_holder ON claims (domain) WHERE state IN ('verified', 'lapsed');
CREATE UNIQUE INDEX claims_once ON claims (account_id, domain) WHERE state <> 'released';

CREATE TABLE users (
    id            BLOB NOT NULL PRIMARY KEY,
    account_id    BLOB NOT NULL REFERENCES accounts (id),
    standing      TEXT NOT NULL,
    status        TEXT NOT NULL,
    tier          TEXT NOT NULL,
    addresses     TEXT NOT NULL,
    profile       TEXT NOT NULL,
    directory     TEXT,
    guid          BLOB,
    dn            TEXT,
    causes        TEXT NOT NULL,
    pins          TEXT NOT NULL,
    version       INTEGER NOT NULL,
    observed_from INTEGER NOT NULL,
    invited_at    INTEGER,
    joined_at     INTEGER,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX users_person ON users (directory, guid) WHERE directory IS NOT NULL;
CREATE INDEX users_listed ON users (account_id, status, id);

-- Who holds which address; unique in the store.
CREATE TABLE addresses (
    address_key TEXT NOT NULL PRIMARY KEY,
    user_id     BLOB NOT NULL REFERENCES users (id),
    is_primary  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX addresses_user ON addresses (user_id);

-- Folded words of names and addresses, for prefix search.
CREATE TABLE name_keys (
    name_key TEXT NOT NULL,
    user_id  BLOB NOT NULL REFERENCES users (id),
    PRIMARY KEY (name_key, user_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX name_keys_user ON name_keys (user_id);

-- What is remembered of an entry beside its user. Fingerprint 0: look again.
CREATE TABLE people (
    directory      TEXT NOT NULL,
    guid           BLOB NOT NULL,
    fingerprint    INTEGER NOT NULL,
    user_id        BLOB,
    dn             TEXT NOT NULL,
    parent_key     TEXT NOT NULL,
    expires        INTEGER,
    entitled_by    BLOB,
    quarantine     TEXT,
    quarantined_at INTEGER,
    seen_at        INTEGER NOT NULL,
    PRIMARY KEY (directory, guid)
) STRICT, WITHOUT ROWID;
CREATE INDEX people_user ON people (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX people_quarantined ON people (directory, quarantined_at) WHERE quarantine IS NOT NULL;
CREATE INDEX people_expiring ON people (directory, expires) WHERE expires IS NOT NULL;

-- "Gone" and "downgrade" candidates, until a second look.
CREATE TABLE settling (
    directory  TEXT NOT NULL,
    user_id    BLOB NOT NULL,
    class      TEXT NOT NULL,
    guid       BLOB NOT NULL,
    first_seen INTEGER NOT NULL,
    due        INTEGER,
    cluster    TEXT,
    PRIMARY KEY (directory, user_id, class)
) STRICT, WITHOUT ROWID;

CREATE TABLE directories (
    name               TEXT NOT NULL PRIMARY KEY,
    paused_until       INTEGER,
    server             TEXT,
    identity           TEXT,
    server_changed_at  INTEGER,
    counts             TEXT,
    scope_hash         TEXT,
    plan_only_since    INTEGER,
    rights_lost        TEXT,
    last_attempt       INTEGER,
    last_success       INTEGER,
    last_complete_read INTEGER,
    entries            INTEGER,
    bind_refused       TEXT
) STRICT;

-- What configuration names, bound to the object it meant when it was first resolved.
CREATE TABLE pins (
    directory TEXT NOT NULL,
    kind      TEXT NOT NULL,
    name      TEXT NOT NULL,
    guid      BLOB NOT NULL,
    detail    TEXT NOT NULL,
    PRIMARY KEY (directory, kind, name, guid)
) STRICT, WITHOUT ROWID;

CREATE TABLE runs (
    id           BLOB NOT NULL PRIMARY KEY,
    directory    TEXT NOT NULL,
    origin       TEXT NOT NULL,
    mode         TEXT NOT NULL,
    state        TEXT NOT NULL,
    actor        TEXT,
    started_at   INTEGER NOT NULL,
    finished_at  INTEGER,
    entries      INTEGER NOT NULL,
    complete     INTEGER NOT NULL,
    server       TEXT,
    counts       TEXT NOT NULL,
    held         INTEGER NOT NULL,
    quarantined  INTEGER NOT NULL,
    dropped      INTEGER NOT NULL,
    error        TEXT,
    warnings     TEXT NOT NULL,
    active_after INTEGER,
    approves     BLOB
) STRICT;
CREATE INDEX runs_listed ON runs (directory, started_at);

CREATE TABLE plans (
    id          BLOB NOT NULL PRIMARY KEY,
    directory   TEXT NOT NULL,
    run_id      BLOB NOT NULL,
    digest      BLOB NOT NULL,
    size        INTEGER NOT NULL,
    state       TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    actor       TEXT,
    approved_at INTEGER
) STRICT;
CREATE INDEX plans_listed ON plans (directory, created_at);

-- Every change that was applied, held or dropped; held plans, budgets and history are queries over it.
CREATE TABLE changes (
    run_id    BLOB NOT NULL,
    seq       INTEGER NOT NULL,
    plan_id   BLOB,
    directory TEXT NOT NULL,
    kind      TEXT NOT NULL,
    class     TEXT,
    user_id   BLOB NOT NULL,
    guid      BLOB,
    email     TEXT,
    reason    TEXT,
    before    TEXT NOT NULL,
    after     TEXT NOT NULL,
    evidence  TEXT NOT NULL,
    digest    BLOB NOT NULL,
    cluster   TEXT,
    hold      TEXT,
    outcome   TEXT NOT NULL,
    approved  INTEGER NOT NULL,
    at        INTEGER NOT NULL,
    PRIMARY KEY (run_id, seq)
) STRICT;
CREATE INDEX changes_budget ON changes (directory, class, at) WHERE outcome = 'applied' AND approved = 0;
CREATE INDEX changes_plan ON changes (plan_id, digest) WHERE plan_id IS NOT NULL;
CREATE INDEX changes_user ON changes (user_id, at);

-- Append-only. hash = sha256(hash before || document).
CREATE TABLE events (
    seq      INTEGER NOT NULL PRIMARY KEY,
    id       BLOB NOT NULL,
    kind     TEXT NOT NULL,
    subject  TEXT NOT NULL,
    run_id   BLOB,
    at       INTEGER NOT NULL,
    document TEXT NOT NULL,
    hash     BLOB NOT NULL
) STRICT;
CREATE INDEX events_subject ON events (subject, seq);
CREATE INDEX events_run ON events (run_id) WHERE run_id IS NOT NULL;
