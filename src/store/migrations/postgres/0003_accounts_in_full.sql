-- The daily look-ups in a row that missed the record of a claim that holds.
ALTER TABLE claims ADD COLUMN misses BIGINT NOT NULL DEFAULT 0;

-- The sign-ins that AD refused: kept, so that a restart gives nobody more attempts than AD counts.
CREATE TABLE refused_sign_ins (
    user_id BYTEA NOT NULL,
    at      BIGINT NOT NULL,
    PRIMARY KEY (user_id, at)
);

-- Who was in scope when a plan was made: whoever approves the plan approves that, and no later configuration.
ALTER TABLE plans ADD COLUMN scope_hash TEXT;
-- What a gate said that holds a plan.
ALTER TABLE plans ADD COLUMN note TEXT;
