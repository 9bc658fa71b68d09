-- How each budget stands, for people: what is left, for how long, and where it ends at the pace of the window so far.
-- The projection is an estimate, in the budget's unit (cents for cost); a window that is over ends with what it used.

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
    limit,
    remaining,
    decision,
    as_of,
    window_end > now64(6) AS current,
    greatest(dateDiff('second', now64(6), window_end), 0) AS seconds_left,
    greatest(dateDiff('second', window_start, window_end) - seconds_left, 1) AS seconds_past,
    toDecimal256(used, 12) * (seconds_past + seconds_left) / seconds_past AS pace,
    if(unit = 'cost', toString(round(pace, 2)), toString(round(pace, 0))) AS projected
FROM limits;
