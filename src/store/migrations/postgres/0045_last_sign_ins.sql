-- The last sign-in of each user, to the hour.
CREATE TABLE last_sign_ins (
    user_id BYTEA NOT NULL PRIMARY KEY REFERENCES users (id),
    at      BIGINT NOT NULL
);
