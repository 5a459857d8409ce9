-- The hooks and targets of each rosterd, for which the others write deliveries while it leads.
ALTER TABLE nodes ADD COLUMN follows TEXT;
