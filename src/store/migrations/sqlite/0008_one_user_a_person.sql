-- A user belongs to an account and an objectGUID. The directory is an attribute of the link, and may
-- change. Where two directories of an account have a user each of one person, the active one, else the
-- older one, keeps the link. The other keeps its status, and becomes unmanaged.
CREATE INDEX users_person_of_account ON users (account_id, guid) WHERE directory IS NOT NULL;
UPDATE users SET directory = NULL, guid = NULL, dn = NULL
    WHERE directory IS NOT NULL AND EXISTS (
        SELECT 1 FROM users o
        WHERE o.account_id = users.account_id AND o.guid = users.guid AND o.directory IS NOT NULL AND o.id <> users.id
          AND (CASE WHEN o.status = 'active' THEN 0 ELSE 1 END, o.created_at, o.id)
            < (CASE WHEN users.status = 'active' THEN 0 ELSE 1 END, users.created_at, users.id));
UPDATE people SET user_id = NULL, fingerprint = 0 WHERE user_id IN (SELECT id FROM users WHERE directory IS NULL);
DROP INDEX users_person_of_account;
DROP INDEX users_person;
CREATE UNIQUE INDEX users_person ON users (account_id, guid) WHERE directory IS NOT NULL;

-- Addresses whose people the next run of a directory reads: a user with the address was invited,
-- removed, unlinked or transferred with a domain.
CREATE TABLE pending_addresses (
    directory   TEXT NOT NULL,
    address_key TEXT NOT NULL,
    PRIMARY KEY (directory, address_key)
) STRICT, WITHOUT ROWID;

-- Sentences about an entry beside its quarantine, as JSON, so that each is reported once.
ALTER TABLE people ADD COLUMN notes TEXT;
