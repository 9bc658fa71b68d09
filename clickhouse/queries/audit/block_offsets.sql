-- Offsets of one block that are not in the books exactly once.
SELECT
    src_offset,
    sum(entries) AS entries
FROM
(
    SELECT toInt64(number) AS src_offset, 0 AS entries
    FROM numbers({first:UInt64}, {count:UInt64})
    UNION ALL
    SELECT src_offset, 1 AS entries FROM usage
    WHERE src_partition = {partition:Int32} AND block_offset = {block:Int64} AND src_entry = 0
    UNION ALL
    SELECT src_offset, 1 AS entries FROM rejected
    WHERE src_partition = {partition:Int32} AND block_offset = {block:Int64}
)
GROUP BY src_offset
HAVING entries != 1
ORDER BY src_offset
LIMIT {limit:UInt32}
