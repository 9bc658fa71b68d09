-- Blocks that do not continue the one before them, and blocks whose counts are not the offsets they cover.
WITH chain AS
(
    SELECT
        *,
        lagInFrame(block_offset, 1, -1) OVER w AS previous_block,
        lagInFrame(src_epoch, 1, '') OVER w AS previous_epoch,
        lagInFrame(last_offset, 1, -1) OVER w AS previous_last
    FROM blocks FINAL
    WHERE src_partition = {partition:Int32}
    WINDOW w AS (ORDER BY block_offset ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
)
SELECT
    src_epoch,
    block_offset,
    extends,
    previous_block,
    first_offset,
    last_offset,
    -- A new epoch starts afresh: nothing before its first event is unaccounted for.
    if(src_epoch = previous_epoch, previous_last + 1, 0) AS expected_first,
    row_count + reject_count + marker_count + gap_count AS counted
FROM chain
WHERE extends != previous_block
    OR first_offset != expected_first
    OR counted != last_offset - first_offset + 1
ORDER BY block_offset
LIMIT {limit:UInt32}
