-- The names of the user of a change, and the names by which operators find a user: logon names and employee ids.
ALTER TABLE changes ADD COLUMN names TEXT;
CREATE TABLE logon_names (
    name    TEXT NOT NULL,
    user_id BLOB NOT NULL REFERENCES users (id),
    PRIMARY KEY (name, user_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX logon_names_user ON logon_names (user_id);
