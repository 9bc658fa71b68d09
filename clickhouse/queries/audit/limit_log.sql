-- Where each limit in the table comes from in the log.
SELECT
    budget_id,
    organization,
    scope_kind,
    scope,
    conditions,
    window_kind,
    toUnixTimestamp64Micro(window_start) AS window_start,
    used,
    decision,
    limit_offset
FROM limit_entries FINAL
