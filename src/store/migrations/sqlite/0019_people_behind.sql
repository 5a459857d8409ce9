-- Status counts the people about whom the server in use is behind.
CREATE INDEX people_behind ON people (directory) WHERE behind_since IS NOT NULL;
