-- Who leads, and until when by the clock of the database. One row.
CREATE TABLE leaders (
    name     TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    epoch    BIGINT NOT NULL,
    holder   BYTEA,
    node     TEXT COLLATE "C" NOT NULL,
    runs_out BIGINT NOT NULL
);
INSERT INTO leaders (name, epoch, node, runs_out) VALUES ('rosterd', 0, '', 0);
