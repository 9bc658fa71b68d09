-- Up to which offset each pair of config versions was used, in the order of the log: neighbours of one are one row.
SELECT max(last_offset) AS last_offset, versions.1 AS price_version, versions.2 AS directory_version
FROM
(
    SELECT last_offset, versions, sum(begins) OVER (ORDER BY last_offset ROWS UNBOUNDED PRECEDING) AS stretch
    FROM
    (
        SELECT
            last_offset,
            (price_version, directory_version) AS versions,
            versions != lagInFrame(versions, 1, ('', toInt64(-1))) OVER (
                ORDER BY last_offset ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
            ) AS begins
        FROM blocks FINAL
        WHERE src_partition = {partition:Int32} AND src_epoch = {epoch:String}
    )
)
GROUP BY stretch, versions
ORDER BY last_offset
