-- What each user of each organization used of each model on a day, and on the same day of the week before.
SELECT
    organization,
    day,
    user,
    model,
    sum(requests) AS request_count,
    sum(unpriced_requests) AS unpriced_count,
    sum(input_tokens + output_tokens) AS token_count,
    sum(cost_usd) AS spent_usd
FROM usage_daily
WHERE day IN (toDate({day:String}), toDate({day:String}) - 7)
GROUP BY organization, day, user, model
