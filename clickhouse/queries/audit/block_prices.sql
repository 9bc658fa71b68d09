-- Up to which offset each price version was used, in the order of the log: neighbours of one version are one row.
SELECT max(last_offset) AS last_offset, price_version
FROM
(
    SELECT last_offset, price_version, sum(begins) OVER (ORDER BY last_offset ROWS UNBOUNDED PRECEDING) AS stretch
    FROM
    (
        SELECT
            last_offset,
            price_version,
            price_version != lagInFrame(price_version, 1, '') OVER (
                ORDER BY last_offset ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
            ) AS begins
        FROM blocks FINAL
        WHERE src_partition = {partition:Int32} AND src_epoch = {epoch:String}
    )
)
GROUP BY stretch, price_version
ORDER BY last_offset
