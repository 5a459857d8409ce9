-- Sign-in attempts are written before the bind, so that a lost answer and a crash count, too.
-- server: the server that refused the password; NULL without an answer, '' where it was not stored.
CREATE TABLE sign_in_attempts (
    id      BYTEA NOT NULL PRIMARY KEY,
    user_id BYTEA NOT NULL,
    at      BIGINT NOT NULL,
    server  TEXT
);
CREATE INDEX sign_in_attempts_of_user ON sign_in_attempts (user_id);
INSERT INTO sign_in_attempts (id, user_id, at, server)
SELECT decode(md5(encode(user_id, 'hex') || at::text), 'hex'), user_id, at, '' FROM refused_sign_ins;
DROP TABLE refused_sign_ins;
