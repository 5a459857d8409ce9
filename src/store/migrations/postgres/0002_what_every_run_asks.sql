-- Every run asks for these two, of a company of which nothing has changed as well. Without an index of its own, each was
-- a look at every user.
CREATE INDEX users_unmanaged ON users (account_id) WHERE directory IS NULL;
CREATE INDEX users_counted ON users (directory, status) WHERE directory IS NOT NULL;
