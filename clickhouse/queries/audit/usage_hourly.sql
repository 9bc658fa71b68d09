-- The hourly rollup against the rows.
SELECT
    count() AS checked,
    countIf(expected != found) AS differing,
    arraySort(groupArrayIf({limit:UInt32})((window, organization, scope, src_partition, expected, found), expected != found))
        AS buckets
FROM
(
    SELECT
        toInt64(toUnixTimestamp(hour)) * 1000000 AS window,
        organization,
        [('department', department), ('provider', provider), ('model', model), ('feature', feature), ('status', status)]
            AS scope,
        src_partition,
        {expected} AS expected,
        {found} AS found
    FROM
    (
        SELECT
            toStartOfHour(occurred_at) AS hour, organization, department, provider, model, feature, status, src_partition,
            true AS is_usage, {sum_measures}, {cost}
        FROM usage
        GROUP BY hour, organization, department, provider, model, feature, status, src_partition
        UNION ALL
        SELECT
            hour, organization, department, provider, model, feature, status, src_partition,
            false AS is_usage, {measures}, cost_usd
        FROM usage_hourly
    )
    GROUP BY hour, organization, department, provider, model, feature, status, src_partition
)
