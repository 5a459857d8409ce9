-- A full run asks for the people whose SID is not stored, and there are none after the first one.
CREATE INDEX people_without_sid ON people (directory, guid) WHERE object_sid IS NULL;
