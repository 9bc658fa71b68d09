-- Spend and failed requests of some hours (seconds UTC), by organization and model.
SELECT
    organization,
    provider,
    model,
    toUnixTimestamp(hour) AS hour_s,
    sum(requests) AS request_count,
    sumIf(requests, status = 'error') AS failed_count,
    sum(cost_usd) AS spent_usd
FROM usage_hourly
WHERE hour IN (SELECT toDateTime(arrayJoin({hours_s:Array(UInt32)}), 'UTC'))
GROUP BY organization, provider, model, hour
