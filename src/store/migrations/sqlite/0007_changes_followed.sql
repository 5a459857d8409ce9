-- How far the changes of a directory were followed, and why a run read everything although it was to follow them.
ALTER TABLE directories ADD COLUMN position TEXT;
ALTER TABLE runs ADD COLUMN because TEXT;
