-- The approvals of a held change, as JSON: a change may need several operators.
ALTER TABLE changes ADD COLUMN approvals TEXT;
