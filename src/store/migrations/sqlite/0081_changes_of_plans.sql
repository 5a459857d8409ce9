-- A plan is shown page by page, in the order of its changes.
CREATE INDEX changes_of_plan ON changes (plan_id, run_id, seq) WHERE plan_id IS NOT NULL;
