-- The daily rollup, whose days are the calendar's, against the rows.
SELECT
    count() AS checked,
    countIf(expected != found) AS differing,
    arraySort(groupArrayIf({limit:UInt32})((window, organization, scope, src_partition, expected, found), expected != found))
        AS buckets
FROM
(
    SELECT
        toInt64(toUnixTimestamp(toDateTime(day, {zone:String}))) * 1000000 AS window,
        organization,
        [('department', department), ('user', user), ('project', project), ('model', model)] AS scope,
        src_partition,
        {expected} AS expected,
        {found} AS found
    FROM
    (
        SELECT
            toDate(occurred_at, {zone:String}) AS day, organization, department, user, project, model, src_partition,
            true AS is_usage, {sum_measures}, {cost}
        FROM usage
        GROUP BY day, organization, department, user, project, model, src_partition
        UNION ALL
        SELECT
            day, organization, department, user, project, model, src_partition,
            false AS is_usage, {measures}, cost_usd
        FROM usage_daily
    )
    GROUP BY day, organization, department, user, project, model, src_partition
)
