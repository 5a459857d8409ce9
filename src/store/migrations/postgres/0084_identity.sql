-- The id of this store, which its copies and dumps have, too. One row.
CREATE TABLE identity (id BYTEA NOT NULL PRIMARY KEY);
INSERT INTO identity (id) VALUES (uuid_send(gen_random_uuid()));
