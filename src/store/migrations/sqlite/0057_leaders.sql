-- Who leads, and until when by the clock of the database. One row.
CREATE TABLE leaders (
    name     TEXT NOT NULL PRIMARY KEY,
    epoch    INTEGER NOT NULL,
    holder   BLOB,
    node     TEXT NOT NULL,
    runs_out INTEGER NOT NULL
);
INSERT INTO leaders (name, epoch, node, runs_out) VALUES ('rosterd', 0, '', 0);
