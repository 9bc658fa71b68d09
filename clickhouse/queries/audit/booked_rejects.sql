-- The rejects of a stretch of offsets.
SELECT src_offset, reason
FROM rejected
WHERE src_partition = {partition:Int32} AND src_epoch = {epoch:String}
    AND src_offset BETWEEN {first:Int64} AND {last:Int64}
ORDER BY src_offset
