-- Every alert as it landed, to be held against the log.
SELECT
    alert_id,
    state,
    revision,
    budget_id,
    organization,
    scope_kind,
    scope,
    window_kind,
    toUnixTimestamp64Micro(window_start) AS window_start,
    threshold,
    used,
    limit,
    unit
FROM alert_entries FINAL
ORDER BY alert_id, state
