-- The attribute that a rejected suspension rests on.
ALTER TABLE rejections ADD COLUMN attribute TEXT;
