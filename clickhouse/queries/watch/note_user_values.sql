-- Notes what users were seen with in the hours of arrival that `note_sources` is about to note.
INSERT INTO user_values (organization, user, kind, value, first_hour)
WITH
    toDateTime({until_s:UInt32}, 'UTC') AS until,
    greatest((SELECT max(hour) FROM source_hours), until - toIntervalDay({days:UInt32})) AS since
SELECT
    organization,
    user,
    pair.1 AS kind,
    pair.2 AS value,
    min(toStartOfHour(booked_at)) AS first_hour
FROM usage
ARRAY JOIN [('model', toString(model)), ('region', toString(region)), ('source', toString(source))] AS pair
WHERE booked_at >= since
    AND booked_at < until
    AND usage.kind != 'adjustment'
    AND user != ''
    AND pair.2 != ''
    AND block_offset >= (SELECT min(block_offset) FROM blocks WHERE booked_until >= since)
GROUP BY organization, user, pair
