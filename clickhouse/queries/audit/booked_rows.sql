-- The rows of a stretch of offsets, for the audit by the events themselves; the blocks let the index find them.
SELECT
    src_offset,
    src_entry,
    {columns},
    cost_usd,
    requests,
    unpriced_requests,
    price_version
FROM (SELECT * REPLACE (toUnixTimestamp64Micro(occurred_at) AS occurred_at) FROM usage)
WHERE src_partition = {partition:Int32} AND src_epoch = {epoch:String}
    AND src_offset BETWEEN {first:Int64} AND {last:Int64}
    AND block_offset >= (SELECT min(block_offset) FROM blocks WHERE src_partition = {partition:Int32}
        AND src_epoch = {epoch:String} AND last_offset >= {first:Int64})
    AND block_offset <= (SELECT max(block_offset) FROM blocks WHERE src_partition = {partition:Int32}
        AND src_epoch = {epoch:String} AND first_offset <= {last:Int64})
ORDER BY src_offset, src_entry
