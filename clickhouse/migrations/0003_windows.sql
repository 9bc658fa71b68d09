-- What the stream says: window entries (a G-counter), alerts, limits, and up to where each stage has counted.

-- Absolute totals of one scope and window from one source partition and segment, up to a block. A later
-- entry of the same key replaces an earlier one, whatever order they arrive in.
CREATE TABLE IF NOT EXISTS window_entries
(
    window_kind LowCardinality(String),
    window_start DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    window_end DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    organization LowCardinality(String),
    scope_kind LowCardinality(String),
    scope LowCardinality(String),
    src_partition Int32,
    segment Int64, -- block_offset of the block that opened it; -1 for a seed, which covers all before its position
    block_offset Int64 CODEC(Delta, ZSTD(1)),
    src_epoch LowCardinality(String),
    src_offset Int64 CODEC(Delta, ZSTD(1)),
    input_tokens Int64 CODEC(T64, ZSTD(1)),
    output_tokens Int64 CODEC(T64, ZSTD(1)),
    cache_read_tokens Int64 CODEC(T64, ZSTD(1)),
    cache_write_tokens Int64 CODEC(T64, ZSTD(1)),
    cache_write_1h_tokens Int64 CODEC(T64, ZSTD(1)),
    input_audio_tokens Int64 CODEC(T64, ZSTD(1)),
    input_image_tokens Int64 CODEC(T64, ZSTD(1)),
    reasoning_tokens Int64 CODEC(T64, ZSTD(1)),
    output_audio_tokens Int64 CODEC(T64, ZSTD(1)),
    requests Int64 CODEC(T64, ZSTD(1)),
    unpriced_requests Int64 CODEC(T64, ZSTD(1)),
    cost_usd Decimal(38, 12) CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(block_offset)
PARTITION BY toYYYYMM(window_start)
ORDER BY (window_kind, organization, scope_kind, scope, window_start, src_partition, segment);

-- Totals: the sum over partitions and segments. A segment opened at or before a seed's position is already in the seed.
CREATE OR REPLACE VIEW windows AS
SELECT
    window_kind,
    window_start,
    any(window_end) AS window_end,
    organization,
    scope_kind,
    scope,
    sum(input_tokens) AS input_tokens,
    sum(output_tokens) AS output_tokens,
    sum(cache_read_tokens) AS cache_read_tokens,
    sum(cache_write_tokens) AS cache_write_tokens,
    sum(cache_write_1h_tokens) AS cache_write_1h_tokens,
    sum(input_audio_tokens) AS input_audio_tokens,
    sum(input_image_tokens) AS input_image_tokens,
    sum(reasoning_tokens) AS reasoning_tokens,
    sum(output_audio_tokens) AS output_audio_tokens,
    sum(requests) AS requests,
    sum(unpriced_requests) AS unpriced_requests,
    sum(cost_usd) AS cost_usd
FROM
(
    SELECT
        *,
        maxIf(block_offset, segment = -1) OVER
        (
            PARTITION BY window_kind, organization, scope_kind, scope, window_start, src_partition
        ) AS seed_offset,
        countIf(segment = -1) OVER
        (
            PARTITION BY window_kind, organization, scope_kind, scope, window_start, src_partition
        ) AS seeds
    FROM window_entries FINAL
)
WHERE segment = -1 OR seeds = 0 OR segment > seed_offset
GROUP BY window_kind, window_start, organization, scope_kind, scope;

-- How far the budgets stage has counted each source partition, per shard (its partition of `usage.windows`).
CREATE TABLE IF NOT EXISTS watermarks
(
    stage LowCardinality(String),
    shard Int32,
    src_partition Int32,
    src_epoch LowCardinality(String),
    src_offset Int64,
    block_offset Int64
)
ENGINE = ReplacingMergeTree(block_offset)
ORDER BY (stage, shard, src_partition);

CREATE TABLE IF NOT EXISTS alert_entries
(
    alert_id String,
    type LowCardinality(String),
    state LowCardinality(String),
    revision Int32,
    budget_id LowCardinality(String),
    organization LowCardinality(String),
    scope_kind LowCardinality(String),
    scope LowCardinality(String),
    window_kind LowCardinality(String),
    window_start DateTime64(6, 'UTC'),
    window_end DateTime64(6, 'UTC'),
    threshold Int32,
    used String,
    limit String,
    unit LowCardinality(String),
    severity LowCardinality(String),
    detail String,
    cause_event String,
    positions Array(Tuple(src_epoch String, src_partition Int32, src_offset Int64, block_offset Int64)),
    late Bool,
    deliver Bool,
    raised_at DateTime64(6, 'UTC'),
    alert_partition Int32,
    alert_offset Int64
)
ENGINE = ReplacingMergeTree(alert_offset)
ORDER BY (alert_id, state);

CREATE OR REPLACE VIEW alerts AS SELECT * FROM alert_entries FINAL;

CREATE TABLE IF NOT EXISTS limit_entries
(
    budget_id LowCardinality(String),
    organization LowCardinality(String),
    scope_kind LowCardinality(String),
    scope LowCardinality(String),
    window_kind LowCardinality(String),
    window_start DateTime64(6, 'UTC'),
    window_end DateTime64(6, 'UTC'),
    unit LowCardinality(String),
    used String,
    limit String,
    remaining String,
    decision LowCardinality(String),
    positions Array(Tuple(src_epoch String, src_partition Int32, src_offset Int64, block_offset Int64)),
    as_of DateTime64(6, 'UTC'),
    limit_offset Int64
)
ENGINE = ReplacingMergeTree(limit_offset)
ORDER BY (budget_id, organization, scope_kind, scope);

CREATE OR REPLACE VIEW limits AS SELECT * FROM limit_entries FINAL;

-- Configuration as it was applied; the topic is the source, these rows are for SQL and dashboards.
CREATE TABLE IF NOT EXISTS budgets
(
    id String,
    scope_kind LowCardinality(String),
    scope String,
    organization String,
    period LowCardinality(String),
    unit LowCardinality(String),
    limit String,
    thresholds Array(Int32),
    version Int64,
    removed Bool,
    budget_offset Int64 -- in usage.budgets: a removal has no version of its own, but a later place
)
ENGINE = ReplacingMergeTree(budget_offset)
ORDER BY id;

-- What a token costs, as rating knows it, per version of the price book; one row a class, context tier and era.
-- `price_version` is the one that each usage row names.
CREATE TABLE IF NOT EXISTS prices
(
    price_version LowCardinality(String),
    provider LowCardinality(String),
    model String,
    service_tier LowCardinality(String),
    class LowCardinality(String), -- a token class, or `requests`
    usd_per_million Decimal(38, 18), -- per million tokens of the class, or per million requests
    above_input_tokens Int64, -- for events with more input tokens than this; -1: for all
    valid_from Nullable(DateTime64(6, 'UTC')), -- NULL: since ever
    valid_to Nullable(DateTime64(6, 'UTC')), -- exclusive; NULL: still in force
    daily_from_s Int32 -- where the price depends on the time of day: from this second of the day (UTC)
)
ENGINE = ReplacingMergeTree
ORDER BY (price_version, provider, model, service_tier, class, above_input_tokens, valid_from, daily_from_s)
SETTINGS allow_nullable_key = 1;
