-- What people answered to alerts. The topic is the source, these rows are for SQL and dashboards.
CREATE TABLE IF NOT EXISTS responses
(
    key String,
    kind LowCardinality(String), -- acknowledged, snoozed
    alert_id String, -- of what was acknowledged
    note String,
    budget_id String, -- of what was snoozed
    organization String,
    scope String,
    until Nullable(DateTime64(6, 'UTC')),
    author String,
    at DateTime64(6, 'UTC'),
    response_offset Int64
)
ENGINE = ReplacingMergeTree(response_offset)
ORDER BY key;

-- Alerts that were raised and not taken back, and who has seen them.
CREATE OR REPLACE VIEW standing_alerts AS
SELECT
    alert_id,
    type,
    budget_id,
    organization,
    scope_kind,
    scope,
    window_kind,
    window_start,
    window_end,
    threshold,
    severity,
    detail,
    raised_at,
    acknowledged_by,
    acknowledged_at,
    note
FROM (SELECT * FROM alerts WHERE state = 'raised') AS raised
LEFT JOIN
(
    SELECT alert_id, author AS acknowledged_by, toNullable(at) AS acknowledged_at, note
    FROM responses FINAL
    WHERE kind = 'acknowledged'
) AS seen USING (alert_id)
WHERE alert_id NOT IN (SELECT alert_id FROM alerts WHERE state = 'retracted');

-- Who is not told about for now.
CREATE OR REPLACE VIEW snoozes AS
SELECT budget_id, organization, scope, assumeNotNull(until) AS snoozed_until, author, at
FROM responses FINAL
WHERE kind = 'snoozed' AND until > now64(6);
