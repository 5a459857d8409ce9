-- People whose changes wait for the end of quiet hours, with that end and the kind of the change.
ALTER TABLE pending_people ADD COLUMN quiet_until INTEGER;
ALTER TABLE pending_people ADD COLUMN quiet_kind TEXT;
