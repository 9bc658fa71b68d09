-- How far each source partition has landed: its newest block.
SELECT
    src_partition,
    max(b.block_offset) AS block_offset,
    argMax(b.src_epoch, b.block_offset) AS src_epoch,
    argMax(b.last_offset, b.block_offset) AS last_offset,
    count() AS blocks
FROM blocks AS b FINAL
GROUP BY src_partition
ORDER BY src_partition
