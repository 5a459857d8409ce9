-- Whoever writes locks this table, on whatever machine it runs. It has no rows.
CREATE TABLE write_lock (one BIGINT NOT NULL PRIMARY KEY);

-- Texts compare by their bytes, as they do in SQLite, whatever the locale of the database is.
DO $$
DECLARE found RECORD;
BEGIN
    FOR found IN
        SELECT table_name, column_name FROM information_schema.columns c
        WHERE table_schema = current_schema() AND data_type = 'text' AND table_name NOT LIKE '\_sqlx%'
          AND EXISTS (SELECT 1 FROM information_schema.tables t
                      WHERE t.table_schema = c.table_schema AND t.table_name = c.table_name AND t.table_type = 'BASE TABLE')
    LOOP
        EXECUTE format('ALTER TABLE %I ALTER COLUMN %I TYPE TEXT COLLATE "C"', found.table_name, found.column_name);
    END LOOP;
END $$;
