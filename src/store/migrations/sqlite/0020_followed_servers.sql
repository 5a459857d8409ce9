-- How far the changes of further servers were followed, by the invocationId of each.
ALTER TABLE directories ADD COLUMN followed TEXT;
