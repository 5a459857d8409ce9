-- The id of this store, which its copies and dumps have, too. One row.
CREATE TABLE identity (id BLOB NOT NULL PRIMARY KEY) STRICT;
INSERT INTO identity (id) VALUES (randomblob(16));
