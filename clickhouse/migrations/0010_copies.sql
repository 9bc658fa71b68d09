-- Up to which block (exclusive) the sink has looked for events that were booked more than once.
CREATE TABLE IF NOT EXISTS copy_looks
(
    src_partition Int32,
    looked_until Int64
)
ENGINE = ReplacingMergeTree(looked_until)
ORDER BY src_partition;
