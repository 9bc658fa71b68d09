-- All rows of events that were re-rated, one part of several: each event's together, under each of its keys as booked.
SELECT
    {keys},
    {tokens},
    units,
    latency_ms,
    revision,
    kind,
    adjustment_type,
    tags['price_version'] AS price_version,
    tags['reassigned'] AS reassigned,
    toString(cost_usd) AS cost_usd,
    requests,
    unpriced_requests,
    src_entry,
    if(kind = 'adjustment', usage.corrects, usage.event_id) AS event
FROM (SELECT * REPLACE (toUnixTimestamp64Micro(occurred_at) AS occurred_at) FROM usage) AS usage
WHERE cityHash64(source, event) % {parts:UInt64} = {part:UInt64}
    AND (source, event) IN
    (
        SELECT source, corrects FROM usage
        WHERE kind = 'adjustment' AND adjustment_type IN ('re-rating', 'pricing', 'unpricing')
            AND cityHash64(source, corrects) % {parts:UInt64} = {part:UInt64}
    )
ORDER BY event, {keys}, booked_at, src_partition, src_offset, src_entry
