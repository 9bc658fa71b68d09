-- The hours (seconds UTC) in which each source has sent.
SELECT
    source,
    arraySort(groupUniqArray(toUnixTimestamp(hour))) AS hours_s
FROM source_hours
WHERE hour >= toDateTime({until_s:UInt32}, 'UTC') - toIntervalDay({days:UInt32})
GROUP BY source
