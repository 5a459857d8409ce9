-- People who were seen to leave before they have a user, each with the stamps of that (replPropertyMetaData).
CREATE TABLE early_leavers (
    directory TEXT NOT NULL,
    guid BLOB NOT NULL,
    metadata TEXT NOT NULL,
    noted_at INTEGER NOT NULL,
    PRIMARY KEY (directory, guid)
);
