-- Notes the hours of arrival from the newest noted one (which may have been noted half) to before `until_s`.
-- An adjustment's source is that of what it adjusts: it is no sign of life. The bound on blocks is what the index knows.
INSERT INTO source_hours (source, hour)
WITH
    toDateTime({until_s:UInt32}, 'UTC') AS until,
    greatest((SELECT max(hour) FROM source_hours), until - toIntervalDay({days:UInt32})) AS since
SELECT DISTINCT
    source,
    toStartOfHour(booked_at) AS arrived
FROM usage
WHERE booked_at >= since
    AND booked_at < until
    AND kind != 'adjustment'
    AND block_offset >= (SELECT min(block_offset) FROM blocks WHERE booked_until >= since)
