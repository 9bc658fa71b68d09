-- Whether an insert is under way: rows beyond the last block that is recorded, and how far both are.
SELECT
    src_partition,
    maxIf(block_offset, is_row) AS rows_until,
    maxIf(block_offset, NOT is_row) AS blocks_until
FROM
(
    SELECT src_partition, max(block_offset) AS block_offset, true AS is_row FROM usage GROUP BY src_partition
    UNION ALL
    SELECT src_partition, max(block_offset) AS block_offset, false AS is_row FROM blocks
    WHERE row_count > 0
    GROUP BY src_partition
)
GROUP BY src_partition
ORDER BY src_partition
