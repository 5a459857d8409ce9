-- Since when the leader leads, and who is to lead instead of it: a node, or '' for any other one.
ALTER TABLE leaders ADD COLUMN since  BIGINT NOT NULL DEFAULT 0;
ALTER TABLE leaders ADD COLUMN wanted TEXT COLLATE "C";

-- Each rosterd on this store writes its own row, by the clock of the database.
CREATE TABLE nodes (
    node          TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    version       TEXT COLLATE "C" NOT NULL,
    configuration TEXT COLLATE "C" NOT NULL,
    takeover      BIGINT NOT NULL,
    health        TEXT COLLATE "C" NOT NULL,
    heard         BIGINT NOT NULL
);
