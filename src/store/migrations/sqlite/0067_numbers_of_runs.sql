-- The order of the runs of a directory, which their times do not give after a clock was wrong.
ALTER TABLE runs ADD COLUMN number INTEGER;
CREATE INDEX runs_numbered ON runs (directory, number);
