-- The directory, so that names can stand beside usage: a person's entries, oldest first.

CREATE TABLE IF NOT EXISTS people
(
    organization LowCardinality(String),
    user String,
    entries Array(Tuple(
        valid_from DateTime64(6, 'UTC'),
        business_unit String,
        cost_center String,
        department String,
        team String,
        display_name String)),
    version Int64, -- of the directory that changed this person last
    directory_offset Int64
)
ENGINE = ReplacingMergeTree(directory_offset)
ORDER BY (organization, user);

-- One row an entry: half-open, the last one until further notice.
CREATE OR REPLACE VIEW directory AS
SELECT
    organization,
    user,
    entry.1 AS valid_from,
    if(place < length(entries), entries[place + 1].1, toDateTime64('2100-01-01 00:00:00', 6, 'UTC')) AS valid_to,
    entry.2 AS business_unit,
    entry.3 AS cost_center,
    entry.4 AS department,
    entry.5 AS team,
    entry.6 AS display_name,
    version
FROM (SELECT * FROM people FINAL)
ARRAY JOIN entries AS entry, arrayEnumerate(entries) AS place;

-- Usage with the name that its user had when it happened; without one, the user id.
CREATE OR REPLACE VIEW usage_named AS
SELECT
    usage.*,
    if(people.display_name = '', usage.user, people.display_name) AS display_name
FROM usage
ASOF LEFT JOIN (SELECT organization, user, valid_from, display_name FROM directory) AS people
    ON usage.organization = people.organization
    AND usage.user = people.user
    AND usage.occurred_at >= people.valid_from;
