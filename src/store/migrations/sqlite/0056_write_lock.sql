-- Whoever writes locks this table, on whatever machine it runs. It has no rows.
CREATE TABLE write_lock (one INTEGER NOT NULL PRIMARY KEY);
-- Only PostgreSQL needs the lock: SQLite has one writer.
