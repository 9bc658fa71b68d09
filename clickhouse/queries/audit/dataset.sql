-- What a dataset's metrics say, by organization and department, and in all ('' and '').
-- The total is asked as such: it need not be the sum of what a broken dataset groups.
SELECT
    organization,
    department,
    {metrics}
FROM {source} AS dataset
GROUP BY GROUPING SETS ((organization, department), ())
ORDER BY organization, department
