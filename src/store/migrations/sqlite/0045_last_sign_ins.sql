-- The last sign-in of each user, to the hour.
CREATE TABLE last_sign_ins (
    user_id BLOB NOT NULL PRIMARY KEY REFERENCES users (id),
    at      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
