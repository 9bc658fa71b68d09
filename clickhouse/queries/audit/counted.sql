-- How far the windows of each source partition are complete: the position that every shard has reached.
SELECT
    src_partition,
    min(block_offset) AS block_offset,
    count() AS shards
FROM watermarks FINAL
WHERE stage = 'windows'
GROUP BY src_partition
ORDER BY src_partition
