-- Threshold alerts as they were raised or retracted.
SELECT
    concat(alert_id, ' ', state) AS key,
    organization,
    scope_kind,
    scope,
    conditions,
    window_kind,
    window_start,
    toUnixTimestamp64Micro(window_start) AS start,
    unit,
    used,
    estimated,
    '' AS remaining,
    limit,
    positions
FROM alert_entries FINAL
WHERE type = 'threshold'
