-- Narrow rollups by materialized view: one wide hourly table would keep two thirds of the rows.
-- `src_partition` is in each key so that, after a doubtful insert, the sink can compare the buckets it touched
-- with `usage` and insert the difference. Unpriced rows add 0 to `cost_usd` and 1 to `unpriced_requests`.

CREATE TABLE IF NOT EXISTS usage_hourly
(
    hour DateTime('UTC') CODEC(Delta, ZSTD(1)),
    organization LowCardinality(String),
    department LowCardinality(String),
    provider LowCardinality(String),
    model LowCardinality(String),
    feature LowCardinality(String),
    status LowCardinality(String),
    src_partition Int32,
    input_tokens Int64,
    output_tokens Int64,
    cache_read_tokens Int64,
    cache_write_tokens Int64,
    cache_write_1h_tokens Int64,
    input_audio_tokens Int64,
    input_image_tokens Int64,
    reasoning_tokens Int64,
    output_audio_tokens Int64,
    requests Int64,
    unpriced_requests Int64,
    cost_usd Decimal(38, 12)
)
ENGINE = SummingMergeTree
PARTITION BY toYYYYMM(hour)
ORDER BY (organization, department, hour, provider, model, feature, status, src_partition)
SETTINGS non_replicated_deduplication_window = 100000;

CREATE MATERIALIZED VIEW IF NOT EXISTS usage_hourly_view TO usage_hourly AS
SELECT
    toStartOfHour(occurred_at) AS hour,
    organization,
    department,
    provider,
    model,
    feature,
    status,
    src_partition,
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
    sum(ifNull(cost_usd, toDecimal128(0, 12))) AS cost_usd
FROM usage
GROUP BY hour, organization, department, provider, model, feature, status, src_partition;

CREATE TABLE IF NOT EXISTS usage_daily
(
    day Date CODEC(Delta, ZSTD(1)),
    organization LowCardinality(String),
    department LowCardinality(String),
    user LowCardinality(String),
    project LowCardinality(String),
    model LowCardinality(String),
    src_partition Int32,
    input_tokens Int64,
    output_tokens Int64,
    cache_read_tokens Int64,
    cache_write_tokens Int64,
    cache_write_1h_tokens Int64,
    input_audio_tokens Int64,
    input_image_tokens Int64,
    reasoning_tokens Int64,
    output_audio_tokens Int64,
    requests Int64,
    unpriced_requests Int64,
    cost_usd Decimal(38, 12)
)
ENGINE = SummingMergeTree
PARTITION BY toYYYYMM(day)
ORDER BY (organization, department, day, user, project, model, src_partition)
SETTINGS non_replicated_deduplication_window = 100000;

-- `{zone}` is the calendar's zone, put in by the migration runner.
CREATE MATERIALIZED VIEW IF NOT EXISTS usage_daily_view TO usage_daily AS
SELECT
    toDate(occurred_at, '{zone}') AS day,
    organization,
    department,
    user,
    project,
    model,
    src_partition,
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
    sum(ifNull(cost_usd, toDecimal128(0, 12))) AS cost_usd
FROM usage
GROUP BY day, organization, department, user, project, model, src_partition;
