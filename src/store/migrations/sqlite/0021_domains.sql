-- The SID of an entry, by which groups and sIDHistory of other domains name it, and the time since which the
-- directory of its user does not show it.
ALTER TABLE people ADD COLUMN object_sid BLOB;
ALTER TABLE people ADD COLUMN unseen_since INTEGER;
CREATE INDEX people_by_sid ON people (object_sid) WHERE object_sid IS NOT NULL;
CREATE INDEX people_unseen ON people (directory) WHERE unseen_since IS NOT NULL;
