-- Blocks whose rows and rejects are not those the block counted: too few, too many, twice, or at foreign offsets.
WITH
    contents AS
    (
        SELECT
            block_offset,
            countIf(is_row AND src_entry = 0) AS rows,
            countIf(is_row AND src_entry = 1) AS pairs,
            countIf(NOT is_row) AS rejects,
            uniqExactIf(src_offset, src_entry = 0) AS offsets,
            count() AS entries,
            uniqExact(src_offset * 256 + src_entry) AS distinct_entries,
            min(src_offset) AS least_offset,
            max(src_offset) AS greatest_offset,
            min(src_epoch) AS least_epoch,
            max(src_epoch) AS greatest_epoch
        FROM
        (
            SELECT block_offset, src_offset, src_entry, src_epoch, true AS is_row
            FROM usage
            WHERE src_partition = {partition:Int32} AND block_offset <= {landed:Int64}
            UNION ALL
            SELECT block_offset, src_offset, 0 AS src_entry, src_epoch, false AS is_row
            FROM rejected
            WHERE src_partition = {partition:Int32} AND block_offset <= {landed:Int64}
        )
        GROUP BY block_offset
    ),
    compared AS
    (
        SELECT
            block_offset,
            headers.block_offset = block_offset AND headers.src_epoch != '' AS is_block,
            headers.src_epoch AS epoch,
            first_offset,
            last_offset,
            toInt64(row_count) AS expected_rows,
            toInt64(pair_count) AS expected_pairs,
            toInt64(reject_count) AS expected_rejects,
            marker_count + gap_count AS without_entry,
            toInt64(rows) AS found_rows,
            toInt64(pairs) AS found_pairs,
            toInt64(rejects) AS found_rejects,
            toInt64(entries - distinct_entries) AS repeated,
            NOT is_block
                OR rows != row_count
                OR pairs != pair_count
                OR rejects != reject_count
                OR offsets != row_count + reject_count
                OR entries != distinct_entries
                OR (entries > 0 AND (
                    least_offset < first_offset OR greatest_offset > last_offset
                    OR least_epoch != epoch OR greatest_epoch != epoch)) AS differs
        FROM
        (
            SELECT * FROM blocks FINAL
            WHERE src_partition = {partition:Int32} AND block_offset <= {landed:Int64}
        ) AS headers
        FULL JOIN contents USING (block_offset)
    )
SELECT
    count() AS checked,
    countIf(differs) AS differing,
    sum(expected_rows + expected_rejects + without_entry) AS offsets,
    arraySort(groupArrayIf({limit:UInt32})(
        (block_offset, is_block, epoch, first_offset, last_offset, expected_rows, expected_rejects, without_entry,
            found_rows, found_rejects, repeated, expected_pairs, found_pairs),
        differs)) AS blocks
FROM compared
