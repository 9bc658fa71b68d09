-- How a dataset's metrics stand to the rows, by organization and one way of the dashboard to group them: how many groups
-- there are, how many differ, and the first of those. The total is asked as such: it need not be the sum of what a broken
-- dataset groups. Metrics are text, '' for none; a rollup may have dropped a group whose sums are all 0.
SELECT
    count() AS compared,
    countIf(expected != found) AS differing,
    groupArrayIf(1000)((group_organization, member, expected, found), expected != found) AS named
FROM
(
    SELECT
        group_organization,
        member,
        if(max(is_usage), anyIf(texts, is_usage), arrayWithConstant({count}, '0')) AS expected,
        if(min(is_usage), arrayWithConstant({count}, '0'), anyIf(texts, NOT is_usage)) AS found
    FROM
    (
        SELECT {organization} AS group_organization, toString({member}) AS member, [{shown_texts}] AS texts, false AS is_usage
        FROM {source} AS dataset
        GROUP BY group_organization, member

        UNION ALL

        SELECT {organization} AS group_organization, toString({row_member}) AS member, [{row_texts}] AS texts, true AS is_usage
        FROM usage
        GROUP BY group_organization, member
    )
    GROUP BY group_organization, member
)
