-- A budget for the whole life of a task has no pace: it comes to what was used.

CREATE OR REPLACE VIEW budget_status AS
SELECT
    budget_id,
    organization,
    scope_kind,
    scope,
    conditions,
    window_kind,
    window_start,
    window_end,
    unit,
    used,
    estimated,
    limit,
    remaining,
    decision,
    as_of,
    window_end > now64(6) AS current,
    greatest(dateDiff('second', now64(6), window_end), 0) AS seconds_left,
    greatest(dateDiff('second', window_start, window_end) - seconds_left, 1) AS seconds_past,
    if(
        window_kind = 'lifetime',
        toDecimal256(used, 12),
        toDecimal256(used, 12) * (seconds_past + seconds_left) / seconds_past) AS pace,
    if(unit = 'cost', toString(round(pace, 2)), toString(round(pace, 0))) AS projected
FROM limits;
