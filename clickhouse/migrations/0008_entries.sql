-- What was adjusted, by whom and why; and what that made of each month. Months are the calendar's ({zone}).

CREATE OR REPLACE VIEW adjustments AS
SELECT
    toStartOfMonth(toDate(occurred_at, '{zone}')) AS month,
    occurred_at,
    booked_at,
    toDate(booked_at, '{zone}') >= addMonths(month, 1) AS prior_period, -- entered when its month was over
    organization,
    department,
    user,
    project,
    model,
    adjustment_type,
    source,
    event_id,
    corrects,
    input_tokens,
    output_tokens,
    requests,
    unpriced_requests,
    cost_usd,
    reason,
    author,
    src_partition,
    src_offset
FROM usage
WHERE kind = 'adjustment';

-- `original` is what usage itself says, `adjusted` the sum of all adjustments, of which `prior_period` were entered
-- after the month's end; net = original + adjusted.
CREATE OR REPLACE VIEW monthly_statement AS
SELECT
    toStartOfMonth(toDate(occurred_at, '{zone}')) AS month,
    organization,
    department,
    sumIf(requests, kind != 'adjustment') AS original_requests,
    sumIf(requests, kind = 'adjustment') AS adjusted_requests,
    original_requests + adjusted_requests AS net_requests,
    sumIf(input_tokens + output_tokens, kind != 'adjustment') AS original_tokens,
    sumIf(input_tokens + output_tokens, kind = 'adjustment') AS adjusted_tokens,
    original_tokens + adjusted_tokens AS net_tokens,
    sum(unpriced_requests) AS unpriced_requests,
    sumIf(ifNull(cost_usd, toDecimal128(0, 12)), kind != 'adjustment') AS original_cost_usd,
    sumIf(ifNull(cost_usd, toDecimal128(0, 12)), kind = 'adjustment') AS adjusted_cost_usd,
    sumIf(
        ifNull(cost_usd, toDecimal128(0, 12)),
        kind = 'adjustment' AND toDate(booked_at, '{zone}') >= addMonths(month, 1)) AS prior_period_cost_usd,
    original_cost_usd + adjusted_cost_usd AS net_cost_usd
FROM usage
GROUP BY month, organization, department;

-- Second rows (`src_entry` 1) of events that book two, as a revision does that counts under another scope.
ALTER TABLE blocks ADD COLUMN IF NOT EXISTS pair_count Int64 DEFAULT 0 AFTER row_count;
