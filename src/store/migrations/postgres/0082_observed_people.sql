-- The observation that a row is from. An older one that is recorded later does not replace it.
ALTER TABLE people ADD COLUMN observed_from BIGINT NOT NULL DEFAULT 0;
