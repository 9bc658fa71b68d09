-- Closed months, and what was booked for them afterwards. Months are the calendar's ({zone}).

CREATE TABLE IF NOT EXISTS periods
(
    month Date,
    closed Bool,
    at DateTime64(6, 'UTC'), -- when it was closed, or opened again
    author String,
    reason String,
    src_epoch LowCardinality(String),
    ends Array(Int64), -- where each partition of usage.events ended then
    period_offset Int64
)
ENGINE = ReplacingMergeTree(period_offset)
ORDER BY month;

-- Every entry dated to a closed month whose event came after the closing: usage that was late, its revisions, and
-- adjustments. Offsets decide; of another epoch of the topic, where offsets start afresh, the time of booking.
CREATE OR REPLACE VIEW prior_period_entries AS
SELECT
    periods.month AS month,
    usage.occurred_at AS occurred_at,
    usage.booked_at AS booked_at,
    usage.organization AS organization,
    usage.department AS department,
    usage.user AS user,
    usage.project AS project,
    usage.model AS model,
    usage.kind AS kind,
    usage.adjustment_type AS adjustment_type,
    usage.source AS source,
    usage.event_id AS event_id,
    usage.corrects AS corrects,
    usage.input_tokens AS input_tokens,
    usage.output_tokens AS output_tokens,
    usage.requests AS requests,
    usage.unpriced_requests AS unpriced_requests,
    usage.cost_usd AS cost_usd,
    multiIf(usage.kind = 'adjustment', usage.reason, usage.revision > 0, 'usage revised late', 'usage that came late')
        AS reason,
    if(usage.kind = 'adjustment', usage.author, usage.source) AS author,
    usage.src_partition AS src_partition,
    usage.src_offset AS src_offset
FROM usage
INNER JOIN (SELECT * FROM periods FINAL WHERE closed) AS periods
    ON toStartOfMonth(toDate(usage.occurred_at, '{zone}')) = periods.month
WHERE if(
    usage.src_epoch = periods.src_epoch,
    usage.src_offset >= periods.ends[usage.src_partition + 1],
    usage.booked_at > periods.at);

-- What a month was closed with, what came since, and the net of both, per organization.
CREATE OR REPLACE VIEW closed_months AS
SELECT
    month,
    any(at) AS closed_at,
    any(author) AS closed_by,
    organization,
    sumIf(ifNull(cost_usd, toDecimal128(0, 12)), NOT came_after) AS closed_cost_usd,
    sumIf(ifNull(cost_usd, toDecimal128(0, 12)), came_after) AS prior_period_cost_usd,
    closed_cost_usd + prior_period_cost_usd AS net_cost_usd,
    countIf(came_after) AS prior_period_entries,
    sumIf(requests, NOT came_after) AS closed_requests,
    sumIf(requests, came_after) AS prior_period_requests,
    sum(unpriced_requests) AS unpriced_requests
FROM
(
    SELECT
        periods.month AS month,
        periods.at AS at,
        periods.author AS author,
        usage.organization AS organization,
        usage.cost_usd AS cost_usd,
        usage.requests AS requests,
        usage.unpriced_requests AS unpriced_requests,
        if(
            usage.src_epoch = periods.src_epoch,
            usage.src_offset >= periods.ends[usage.src_partition + 1],
            usage.booked_at > periods.at) AS came_after
    FROM usage
    INNER JOIN (SELECT * FROM periods FINAL WHERE closed) AS periods
        ON toStartOfMonth(toDate(usage.occurred_at, '{zone}')) = periods.month
)
GROUP BY month, organization;
