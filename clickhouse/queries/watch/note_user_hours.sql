-- Notes the hours of event time that are over, and once more the last three that were noted: usage comes late.
INSERT INTO user_hours (organization, user, hour, requests, sessions, noted_until)
WITH
    toDateTime({until_s:UInt32}, 'UTC') AS until,
    greatest((SELECT max(hour) FROM user_hours) - INTERVAL 2 HOUR, until - toIntervalDay({days:UInt32})) AS since
SELECT
    organization,
    user,
    toStartOfHour(occurred_at) AS over,
    sum(requests),
    uniqExactIf(session, session != ''),
    until
FROM usage
WHERE over >= since AND over < until AND user != ''
GROUP BY organization, user, over
