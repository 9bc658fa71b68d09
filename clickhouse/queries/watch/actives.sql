-- How many projects and users of each organization were active from a day to before another.
SELECT
    organization,
    countIf(kind = 'project') AS project_count,
    countIf(kind = 'user') AS member_count
FROM
(
    SELECT organization, kind_name.1 AS kind, kind_name.2 AS name
    FROM usage_daily
    ARRAY JOIN [('project', toString(project)), ('user', toString(user))] AS kind_name
    WHERE day >= toDate({start:String}) AND day < toDate({end:String}) AND kind_name.2 != ''
    GROUP BY organization, kind, name
    HAVING sum(requests) > 0
)
GROUP BY organization
