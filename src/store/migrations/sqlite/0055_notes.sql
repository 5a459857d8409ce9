-- The note of an operator on a user, who wrote it, and when.
ALTER TABLE users ADD COLUMN note TEXT;
ALTER TABLE users ADD COLUMN noted_by TEXT;
ALTER TABLE users ADD COLUMN noted_at INTEGER;
