-- What hooks are to be told: a row for each hook and event, written with the event. Of one subject only the first row
-- that is not done is due; the others wait, with the last instant there is as next_at, until it is.
CREATE TABLE deliveries (
    hook          TEXT NOT NULL,
    seq           INTEGER NOT NULL,
    subject       TEXT NOT NULL,
    state         TEXT NOT NULL,
    attempts      INTEGER NOT NULL,
    first_at      INTEGER NOT NULL,
    next_at       INTEGER NOT NULL,
    done_at       INTEGER,
    error         TEXT,
    output        TEXT,
    -- The process group that carries it out, and when the kernel says it began.
    process_group INTEGER,
    process_start INTEGER,
    PRIMARY KEY (hook, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX deliveries_due ON deliveries (hook, next_at, seq) WHERE state = 'pending';
CREATE INDEX deliveries_order ON deliveries (hook, subject, seq) WHERE state = 'pending';
CREATE INDEX deliveries_failed ON deliveries (hook, seq) WHERE state = 'failed';
CREATE INDEX deliveries_running ON deliveries (hook, seq) WHERE process_group IS NOT NULL;

-- What is remembered of a hook beside its deliveries, of which only the latest are kept.
CREATE TABLE hooks (
    name         TEXT NOT NULL PRIMARY KEY,
    delivered    INTEGER NOT NULL,
    delivered_at INTEGER,
    error        TEXT,
    error_at     INTEGER,
    -- The address that said it is gone for good.
    gone         TEXT
) STRICT, WITHOUT ROWID;
