-- The last answer of DNS about the servers of a directory, for use when DNS does not answer.
ALTER TABLE directories ADD COLUMN found_servers TEXT;
