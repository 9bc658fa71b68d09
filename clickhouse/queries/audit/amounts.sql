-- What each alert or limit (`items`) of one window kind and scope kind has used, by the rows at its own positions.
SELECT
    key,
    {sums} AS sums
FROM
(
    SELECT
        organization,
        {scope_column} AS scope,
        {window_start_of_row} AS window_start,
        src_partition,
        block_offset,
        {measures},
        cost_usd
    FROM usage
    WHERE {condition}
) AS rows
INNER JOIN
(
    SELECT
        key, organization, scope, window_start, position.src_partition AS src_partition,
        position.block_offset AS counted_to
    FROM {items}
    ARRAY JOIN positions AS position
    WHERE window_kind = {window_kind:String} AND scope_kind = {scope_kind:String} AND conditions = {conditions:String}
) AS items
USING (organization, scope, window_start, src_partition)
WHERE block_offset <= counted_to
GROUP BY key
