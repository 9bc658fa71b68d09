-- In which hours each source has sent, by the time of arrival: what tells that one has fallen silent.
-- The sink notes an hour when all of it has landed; to note it again changes nothing.
CREATE TABLE IF NOT EXISTS source_hours
(
    source LowCardinality(String),
    hour DateTime('UTC') CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree
ORDER BY (source, hour)
TTL hour + INTERVAL 90 DAY;
