-- Sign-in attempts are written before the bind, so that a lost answer and a crash count, too.
-- server: the server that refused the password; NULL without an answer, '' where it was not stored.
CREATE TABLE sign_in_attempts (
    id      BLOB NOT NULL PRIMARY KEY,
    user_id BLOB NOT NULL,
    at      INTEGER NOT NULL,
    server  TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX sign_in_attempts_of_user ON sign_in_attempts (user_id);
INSERT INTO sign_in_attempts (id, user_id, at, server) SELECT randomblob(16), user_id, at, '' FROM refused_sign_ins;
DROP TABLE refused_sign_ins;
