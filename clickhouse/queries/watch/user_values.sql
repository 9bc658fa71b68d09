-- What users were first seen with in the two hours before `until_s`, and since when they are known with any of the kind.
SELECT
    organization,
    user,
    kind,
    value,
    toUnixTimestamp(first) AS first_s,
    toUnixTimestamp(known_since) AS known_since_s
FROM
(
    SELECT
        organization,
        user,
        kind,
        value,
        min(first_hour) AS first,
        min(first) OVER (PARTITION BY organization, user, kind) AS known_since
    FROM user_values
    GROUP BY organization, user, kind, value
)
WHERE first >= toDateTime({until_s:UInt32}, 'UTC') - INTERVAL 2 HOUR AND first > known_since
