-- What is used of each budget and scope.
SELECT
    concat(budget_id, ' ', toJSONString([organization, scope_kind, scope])) AS key,
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
    remaining,
    limit,
    positions
FROM limit_entries FINAL
