-- People who were seen to leave before they have a user, each with the stamps of that (replPropertyMetaData).
CREATE TABLE early_leavers (
    directory TEXT NOT NULL,
    guid BYTEA NOT NULL,
    metadata TEXT NOT NULL,
    noted_at BIGINT NOT NULL,
    PRIMARY KEY (directory, guid)
);
