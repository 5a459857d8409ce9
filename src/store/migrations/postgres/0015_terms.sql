-- Tables, columns and stored words take the terms of docs/glossary.md.
ALTER TABLE settling RENAME TO grace_periods;
ALTER TABLE pins RENAME TO baseline_objects;
ALTER TABLE directories RENAME COLUMN position TO checkpoint;
ALTER TABLE runs RENAME COLUMN because TO full_read_reason;
ALTER TABLE users RENAME COLUMN pins TO overrides;
UPDATE runs SET origin = 'recheck' WHERE origin = 'second-look';
UPDATE runs SET mode = 'incremental' WHERE mode = 'delta';
UPDATE changes SET hold = 'grace-period' WHERE hold = 'settling';
UPDATE directories SET scope_hash = 'rebaselined' WHERE scope_hash = 'repinned';

-- A pause without an end becomes the longest pause, a week: every pause ends by itself.
UPDATE directories SET paused_until = CAST(EXTRACT(EPOCH FROM now()) AS BIGINT) * 1000000 + 604800000000
    WHERE paused_until = 9223372036854775807;
