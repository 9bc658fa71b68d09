-- What a dataset's metrics must add up to: the rows by organization and department, as dashboards name them.
SELECT
    organization,
    if(department = '', '(unassigned)', department) AS department_name,
    {sums} AS sums
FROM usage
GROUP BY organization, department_name
ORDER BY organization, department_name
