-- Provisional usage whose first revision was booked at least so many hours ago and whose highest is no final: it never
-- ended. Cancelled usage has ended. `src_entry` 1 takes back what an earlier revision counted elsewhere.
SELECT source, count() AS uses, sum(cost_usd) AS cost_usd
FROM
(
    SELECT
        source,
        sum(ifNull(cost_usd, toDecimal128(0, 12))) AS cost_usd,
        argMaxIf((kind, status), (revision, src_offset), src_entry = 0) AS newest
    FROM usage
    WHERE kind IN ('provisional', 'final')
    GROUP BY source, event_id
    HAVING newest.1 = 'provisional' AND newest.2 != 'cancelled' AND min(booked_at) <= now64(6) - toIntervalHour({hours:UInt32})
)
GROUP BY source
ORDER BY uses DESC, source
