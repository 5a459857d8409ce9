-- The parent of each changed entry, by which the limits of OUs count.
ALTER TABLE changes ADD COLUMN home TEXT;
ALTER TABLE grace_periods ADD COLUMN home TEXT;
