-- Of each user with usage in the hour `hour_s`: that hour, and the 28 days before it. Days and hours are those of the zone.
WITH toDateTime({hour_s:UInt32}, 'UTC') AS judged
SELECT
    organization,
    user,
    sumIf(requests, hour = judged) AS request_count,
    sumIf(sessions, hour = judged) AS session_count,
    maxIf(requests, hour < judged) AS most_requests,
    maxIf(sessions, hour < judged) AS most_sessions,
    uniqExactIf(toDate(hour, {zone:String}), hour < judged) AS days_known,
    countIf(hour < judged AND toHour(hour, {zone:String}) = toHour(judged, {zone:String})) AS times_at_this_hour
FROM user_hours FINAL
WHERE hour >= judged - INTERVAL 28 DAY AND hour <= judged AND requests > 0
GROUP BY organization, user
HAVING request_count > 0
