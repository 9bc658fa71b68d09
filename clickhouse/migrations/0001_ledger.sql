-- The books. Rows are only ever added; `block_offset` and `src_offset` say where each came from.
-- Every statement of a migration can be repeated: a run that ended half-way is mended by the next.

-- One row an entry. Sort key: nearly every question names an organization and a stretch of time, and most one
-- department; rows of one department and hour then lie together, which also makes the columns compress.
-- The minmax index answers the sink's and the auditor's question "which rows of these blocks are here?".
CREATE TABLE IF NOT EXISTS usage
(
    event_id String CODEC(ZSTD(1)),
    source LowCardinality(String),
    revision Int32 CODEC(T64, ZSTD(1)),
    kind LowCardinality(String),
    occurred_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    corrects String CODEC(ZSTD(1)),
    adjustment_type LowCardinality(String),
    amount_pico Nullable(Int64) CODEC(ZSTD(1)),
    reason String CODEC(ZSTD(1)),
    author LowCardinality(String),
    organization LowCardinality(String),
    business_unit LowCardinality(String),
    cost_center LowCardinality(String),
    department LowCardinality(String),
    team LowCardinality(String),
    user LowCardinality(String),
    project LowCardinality(String),
    task String CODEC(ZSTD(1)),
    session String CODEC(ZSTD(1)),
    feature LowCardinality(String),
    tool LowCardinality(String),
    integration LowCardinality(String),
    platform LowCardinality(String),
    environment LowCardinality(String),
    task_title String CODEC(ZSTD(1)),
    task_type LowCardinality(String),
    step LowCardinality(String),
    session_title String CODEC(ZSTD(1)),
    quality Array(Tuple(gate String, passed Bool, score Nullable(Float64), detail String)) CODEC(ZSTD(1)),
    attachments Array(Tuple(file_id String, name String, bytes Int64, tokens Int64)) CODEC(ZSTD(1)),
    input_parts Map(String, Int64) CODEC(ZSTD(1)),
    output_parts Map(String, Int64) CODEC(ZSTD(1)),
    tags Map(String, String) CODEC(ZSTD(1)),
    provider LowCardinality(String),
    model LowCardinality(String),
    operation LowCardinality(String),
    service_tier LowCardinality(String),
    region LowCardinality(String),
    max_output_tokens Nullable(Int64) CODEC(ZSTD(1)),
    finish_reason LowCardinality(String),
    input_tokens Int64 CODEC(T64, ZSTD(1)),
    output_tokens Int64 CODEC(T64, ZSTD(1)),
    cache_read_tokens Int64 CODEC(T64, ZSTD(1)),
    cache_write_tokens Int64 CODEC(T64, ZSTD(1)),
    cache_write_1h_tokens Int64 CODEC(T64, ZSTD(1)),
    input_audio_tokens Int64 CODEC(T64, ZSTD(1)),
    input_image_tokens Int64 CODEC(T64, ZSTD(1)),
    reasoning_tokens Int64 CODEC(T64, ZSTD(1)),
    output_audio_tokens Int64 CODEC(T64, ZSTD(1)),
    units Map(String, Int64) CODEC(ZSTD(1)),
    status LowCardinality(String),
    error_type LowCardinality(String),
    latency_ms Nullable(Int32) CODEC(T64, ZSTD(1)),
    time_to_first_token_ms Nullable(Int32) CODEC(T64, ZSTD(1)),
    cost_usd Nullable(Decimal(38, 12)) CODEC(ZSTD(1)), -- NULL: unpriced, which is not 0
    requests Int8 CODEC(ZSTD(1)),
    unpriced_requests Int8 CODEC(ZSTD(1)),
    booked_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    src_offset Int64 CODEC(Delta, ZSTD(1)),
    src_entry Int8 CODEC(ZSTD(1)),
    src_epoch LowCardinality(String),
    src_partition Int32 CODEC(ZSTD(1)),
    block_offset Int64 CODEC(Delta, ZSTD(1)),
    price_version LowCardinality(String),
    INDEX block_offset_range block_offset TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(occurred_at)
ORDER BY (organization, department, toStartOfHour(occurred_at), model, user, occurred_at)
SETTINGS non_replicated_deduplication_window = 100000;

-- One row a block of `usage.blocks`, inserted after its rows and rejects: what has landed, and what each offset was.
CREATE TABLE IF NOT EXISTS blocks
(
    src_epoch LowCardinality(String),
    src_partition Int32,
    first_offset Int64 CODEC(Delta, ZSTD(1)),
    last_offset Int64 CODEC(Delta, ZSTD(1)),
    block_offset Int64 CODEC(Delta, ZSTD(1)),
    extends Int64 CODEC(Delta, ZSTD(1)),
    row_count Int64 CODEC(T64, ZSTD(1)),
    reject_count Int64 CODEC(T64, ZSTD(1)),
    marker_count Int64 CODEC(T64, ZSTD(1)),
    gap_count Int64 CODEC(T64, ZSTD(1)),
    price_version LowCardinality(String),
    booked_until DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)), -- append time of the last offset: the clock of the chain
    rated_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    landed_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree
ORDER BY (src_partition, block_offset);

-- Events that were not counted: why, and their bytes.
CREATE TABLE IF NOT EXISTS rejected
(
    src_epoch LowCardinality(String),
    src_partition Int32,
    src_offset Int64 CODEC(Delta, ZSTD(1)),
    block_offset Int64 CODEC(Delta, ZSTD(1)),
    booked_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    reason LowCardinality(String),
    detail String CODEC(ZSTD(1)),
    source String CODEC(ZSTD(1)),
    event_id String CODEC(ZSTD(1)),
    organization LowCardinality(String),
    key String CODEC(ZSTD(1)),
    value String CODEC(ZSTD(1)),
    INDEX block_offset_range block_offset TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(booked_at)
ORDER BY (reason, booked_at, src_partition, src_offset);
