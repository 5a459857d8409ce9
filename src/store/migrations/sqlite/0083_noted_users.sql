-- Few users have a note, and each new plan names them first.
CREATE INDEX users_noted ON users (id) WHERE note IS NOT NULL;
