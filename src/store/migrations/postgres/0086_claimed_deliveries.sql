-- The rosterd that attempts a delivery, where several share the store. Until next_at no other one begins it.
ALTER TABLE deliveries ADD COLUMN claimed_by TEXT COLLATE "C";
