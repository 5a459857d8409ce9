-- Tables, columns and stored words take the terms of docs/glossary.md.
ALTER TABLE settling RENAME TO grace_periods;
ALTER TABLE directories RENAME COLUMN position TO checkpoint;
ALTER TABLE runs RENAME COLUMN because TO full_read_reason;
ALTER TABLE users RENAME COLUMN pins TO overrides;
UPDATE runs SET origin = 'recheck' WHERE origin = 'second-look';
UPDATE runs SET mode = 'incremental' WHERE mode = 'delta';
UPDATE changes SET hold = 'grace-period' WHERE hold = 'settling';
UPDATE directories SET scope_hash = 'rebaselined' WHERE scope_hash = 'repinned';
