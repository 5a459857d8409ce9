-- The stamps of an entry (replPropertyMetaData) as runs have seen them, and the time since which the present server
-- has not heard of them.
ALTER TABLE people ADD COLUMN metadata TEXT;
ALTER TABLE people ADD COLUMN behind_since INTEGER;
ALTER TABLE directories ADD COLUMN high_water_marks TEXT;
