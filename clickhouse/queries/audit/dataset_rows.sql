-- What a dataset shows row by row, against the table that it shows: how many different rows there are, how many of them
-- are not there equally often, and the first of those. A row is the text of its columns.
SELECT
    count() AS compared,
    countIf(expected != found) AS differing,
    groupArrayIf(1000)((texts, expected, found), expected != found) AS named
FROM
(
    SELECT texts, countIf(is_table) AS expected, countIf(NOT is_table) AS found
    FROM
    (
        SELECT [{shown_texts}] AS texts, false AS is_table
        FROM {source} AS dataset

        UNION ALL

        SELECT [{row_texts}] AS texts, true AS is_table
        FROM {table} FINAL
    )
    GROUP BY texts
)
