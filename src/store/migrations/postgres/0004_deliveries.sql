-- What hooks are to be told: a row for each hook and event, written with the event. Of one subject only the first row
-- that is not done is due; the others wait, with the last instant there is as next_at, until it is.
CREATE TABLE deliveries (
    hook          TEXT NOT NULL,
    seq           BIGINT NOT NULL,
    subject       TEXT NOT NULL,
    state         TEXT NOT NULL,
    attempts      BIGINT NOT NULL,
    first_at      BIGINT NOT NULL,
    next_at       BIGINT NOT NULL,
    done_at       BIGINT,
    error         TEXT,
    output        TEXT,
    -- The process group that carries it out, and when the kernel says it began.
    process_group BIGINT,
    process_start BIGINT,
    PRIMARY KEY (hook, seq)
);
CREATE INDEX deliveries_due ON deliveries (hook, next_at, seq) WHERE state = 'pending';
CREATE INDEX deliveries_order ON deliveries (hook, subject, seq) WHERE state = 'pending';
CREATE INDEX deliveries_failed ON deliveries (hook, seq) WHERE state = 'failed';
CREATE INDEX deliveries_running ON deliveries (hook, seq) WHERE process_group IS NOT NULL;

-- What is remembered of a hook beside its deliveries, of which only the latest are kept.
CREATE TABLE hooks (
    name         TEXT NOT NULL PRIMARY KEY,
    delivered    BIGINT NOT NULL,
    delivered_at BIGINT,
    error        TEXT,
    error_at     BIGINT,
    -- The address that said it is gone for good.
    gone         TEXT
);
