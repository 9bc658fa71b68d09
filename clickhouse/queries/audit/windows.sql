-- The windows of one kind and one scope kind against the rows at the same positions, a source partition at a time.
-- An entry is compared at its own position, or at the one to which the windows of its partition are complete,
-- whichever is higher; an entry beyond what has landed in `usage` is `ahead`. `scope_column` is the scope kind, or that of
-- the selection that stands for one, whose rows meet its `condition`.
WITH
    entries AS
    (
        SELECT *
        FROM
        (
            SELECT
                *,
                maxIf(block_offset, segment = -1) OVER w AS seed_offset,
                countIf(segment = -1) OVER w AS seeds
            FROM window_entries FINAL
            WHERE window_kind = {window_kind:String} AND scope_kind = {scope_kind:String}
            WINDOW w AS (PARTITION BY organization, scope, window_start, src_partition)
        )
        WHERE segment = -1 OR seeds = 0 OR segment > seed_offset
    ),
    late AS
    (
        SELECT organization, scope, window_start, src_partition, max(block_offset) + 1 AS until_block
        FROM entries
        GROUP BY organization, scope, window_start, src_partition
        HAVING until_block - 1 > transform(src_partition, {partitions:Array(Int32)}, {complete:Array(Int64)}, toInt64(-1))
    ),
    rows AS
    (
        SELECT
            organization,
            {scope_column} AS scope,
            toDateTime64(toDateTime(dateTrunc({window_kind:String}, occurred_at, {zone:String}), {zone:String}), 6, 'UTC')
                AS window_start,
            src_partition,
            block_offset,
            transform(src_partition, {partitions:Array(Int32)}, {complete:Array(Int64)}, toInt64(-1)) AS complete,
            {measures},
            ifNull(cost_usd, toDecimal128(0, 12)) AS cost_usd
        FROM usage
        WHERE {condition} AND block_offset <= transform(src_partition, {partitions:Array(Int32)}, {landed:Array(Int64)}, toInt64(-1))
    ),
    compared AS
    (
        SELECT
            organization,
            scope,
            window_start,
            src_partition,
            max(counted_to) AS entry_block,
            greatest(entry_block, transform(src_partition, {partitions:Array(Int32)}, {complete:Array(Int64)}, toInt64(-1)))
                AS position,
            entry_block > transform(src_partition, {partitions:Array(Int32)}, {landed:Array(Int64)}, toInt64(-1)) AS is_ahead,
            toDateTime64(toDateTime(
                dateTrunc({window_kind:String}, addSeconds(window_start, {stride_s:Int64}), {zone:String}),
                {zone:String}), 6, 'UTC') AS expected_end,
            countIf(NOT is_usage AND window_end != expected_end) > 0 AS wrong_end,
            maxIf(window_end, NOT is_usage) AS found_end,
            {expected} AS expected,
            {found} AS found,
            NOT is_ahead AND (expected != found OR wrong_end) AS differs
        FROM
        (
            SELECT
                organization, scope, window_start, window_end, src_partition,
                block_offset AS counted_to, false AS is_usage, {measures}, cost_usd
            FROM entries
            UNION ALL
            SELECT
                organization, scope, window_start, toDateTime64(0, 6, 'UTC') AS window_end, src_partition,
                toInt64(-1) AS counted_to, true AS is_usage, {sum_measures}, sum(cost_usd) AS cost_usd
            FROM rows
            ANY LEFT JOIN late USING (organization, scope, window_start, src_partition)
            WHERE block_offset < greatest(complete + 1, until_block)
            GROUP BY organization, scope, window_start, src_partition
        )
        GROUP BY organization, scope, window_start, src_partition
    )
SELECT
    countIf(NOT is_ahead) AS checked,
    countIf(is_ahead) AS ahead,
    countIf(differs) AS differing,
    arraySort(groupArrayIf({limit:UInt32})(
        (toUnixTimestamp64Micro(window_start), organization, scope, src_partition, position, expected, found,
            wrong_end, toUnixTimestamp64Micro(expected_end), toUnixTimestamp64Micro(found_end)),
        differs)) AS windows
FROM compared
