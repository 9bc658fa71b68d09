-- Budgets that count only some of a scope's usage: `feature=search&model=gpt-4o|o3`, quoted as in a URL; '' for all of it.
-- Such usage has windows of its own in `window_entries`, under a scope kind like `user[feature=search]`.

ALTER TABLE alert_entries ADD COLUMN IF NOT EXISTS conditions LowCardinality(String) AFTER window_end;

CREATE OR REPLACE VIEW alerts AS SELECT * FROM alert_entries FINAL;

ALTER TABLE limit_entries ADD COLUMN IF NOT EXISTS conditions LowCardinality(String) AFTER window_end;

CREATE OR REPLACE VIEW limits AS SELECT * FROM limit_entries FINAL;

ALTER TABLE budgets ADD COLUMN IF NOT EXISTS conditions String AFTER limit;
