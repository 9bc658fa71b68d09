-- What users usually do, noted by the sink once an hour: what tells that one does something else.
-- To note an hour again changes nothing, or brings it up to date.

-- When, by the time of arrival, a user was first seen with a model, in a region or from a source.
CREATE TABLE IF NOT EXISTS user_values
(
    organization LowCardinality(String),
    user LowCardinality(String),
    kind LowCardinality(String), -- model, region, source
    value LowCardinality(String),
    first_hour SimpleAggregateFunction(min, DateTime('UTC'))
)
ENGINE = AggregatingMergeTree
ORDER BY (organization, user, kind, value);

-- How much each user did in each hour of event time.
CREATE TABLE IF NOT EXISTS user_hours
(
    organization LowCardinality(String),
    user LowCardinality(String),
    hour DateTime('UTC') CODEC(Delta, ZSTD(1)),
    requests Int64 CODEC(T64, ZSTD(1)),
    sessions Int64 CODEC(T64, ZSTD(1)),
    noted_until DateTime('UTC') CODEC(Delta, ZSTD(1)) -- what was over when it was noted: a later note knows more
)
ENGINE = ReplacingMergeTree(noted_until)
ORDER BY (organization, user, hour)
TTL hour + INTERVAL 90 DAY;
