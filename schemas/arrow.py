"""Arrow schemas of what flows inside: priced rows and rejects of a block, and window entries.

A *usage row* is an event of `usage_event.v1` plus what rating decided about it. The sink adds the four
columns that are one value per block (`src_epoch`, `src_partition`, `block_offset`, `price_version`) and
writes the result to ClickHouse's table `usage` under the same names; `cost_pico` becomes `cost_usd`.
"""

import pyarrow as pa

#: Few distinct values a block: dictionary-encoded, so that grouping and ClickHouse's LowCardinality are cheap.
NAME = pa.dictionary(pa.int32(), pa.string())
MICROS = pa.timestamp("us", tz="UTC")
COUNTS = pa.map_(pa.string(), pa.int64())

#: Every one of these has its windows, budget or not.
SCOPE_KINDS = ("organization", "department", "user", "project", "model")
#: What a budget may be about; those that are not standing have windows while a budget needs them.
SCOPES = (
    *SCOPE_KINDS,
    *("business_unit", "cost_center", "team", "task", "session", "feature", "tool", "integration", "platform"),
    "environment",
)
WINDOW_KINDS = ("hour", "day", "month")
TOKEN_CLASSES = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "input_audio_tokens",
    "input_image_tokens",
    "reasoning_tokens",
    "output_audio_tokens",
)
#: What a window adds up besides `cost_pico`; all signed, so that plain sums are always right.
MEASURES = (*TOKEN_CLASSES, "requests", "unpriced_requests")

#: Under what a row counts. Entries that are equal in these add up, whatever is asked; what differs is another row's.
ROW_KEYS = (
    *("occurred_at", "organization", "business_unit", "cost_center", "department", "team", "user", "project", "task"),
    *("session", "feature", "tool", "integration", "platform", "environment", "task_type", "provider", "model"),
    *("operation", "service_tier", "region", "status"),
)

EVENT_COLUMNS = pa.schema(
    [
        ("event_id", pa.string()),
        ("source", NAME),
        ("revision", pa.int32()),
        ("kind", NAME),
        ("occurred_at", MICROS),
        ("corrects", pa.string()),
        ("adjustment_type", NAME),
        ("amount_pico", pa.int64()),
        ("reason", pa.string()),
        ("author", NAME),
        ("organization", NAME),
        ("business_unit", NAME),
        ("cost_center", NAME),
        ("department", NAME),
        ("team", NAME),
        ("user", NAME),
        ("project", NAME),
        ("task", pa.string()),
        ("session", pa.string()),
        ("feature", NAME),
        ("tool", NAME),
        ("integration", NAME),
        ("platform", NAME),
        ("environment", NAME),
        ("task_title", pa.string()),
        ("task_type", NAME),
        ("step", NAME),
        ("session_title", pa.string()),
        (
            "quality",
            pa.list_(
                pa.struct(
                    [
                        ("gate", pa.string()),
                        ("passed", pa.bool_()),
                        ("score", pa.float64()),
                        ("detail", pa.string()),
                    ]
                )
            ),
        ),
        (
            "attachments",
            pa.list_(
                pa.struct(
                    [
                        ("file_id", pa.string()),
                        ("name", pa.string()),
                        ("bytes", pa.int64()),
                        ("tokens", pa.int64()),
                    ]
                )
            ),
        ),
        ("input_parts", COUNTS),
        ("output_parts", COUNTS),
        ("tags", pa.map_(pa.string(), pa.string())),
        ("provider", NAME),
        ("model", NAME),
        ("operation", NAME),
        ("service_tier", NAME),
        ("region", NAME),
        ("max_output_tokens", pa.int64()),
        ("finish_reason", NAME),
        *((name, pa.int64()) for name in TOKEN_CLASSES),
        ("units", COUNTS),
        ("status", NAME),
        ("error_type", NAME),
        ("latency_ms", pa.int32()),
        ("time_to_first_token_ms", pa.int32()),
    ]
)

#: Added by rating. `src_entry` numbers the rows that one event books (0 but for reversal pairs).
RATED_COLUMNS = pa.schema(
    [
        ("cost_pico", pa.int64()),  # null: unpriced, which is not 0
        ("requests", pa.int8()),
        ("unpriced_requests", pa.int8()),
        ("booked_at", MICROS),  # the broker's append time
        ("src_offset", pa.int64()),
        ("src_entry", pa.int8()),
        ("content_hash", pa.uint64()),  # of the event's Avro body; stays in the block, to tell duplicate from conflict
    ]
)

USAGE_ROWS = pa.schema([*EVENT_COLUMNS, *RATED_COLUMNS])

REJECT_ROWS = pa.schema(
    [
        ("src_offset", pa.int64()),
        ("booked_at", MICROS),
        ("reason", NAME),
        ("detail", pa.string()),
        ("source", pa.string()),
        ("event_id", pa.string()),
        ("organization", pa.string()),
        ("key", pa.binary()),
        ("value", pa.binary()),
    ]
)

#: One entry of a G-counter: absolute totals of one scope and window from one source partition and segment,
#: counted up to the block at `block_offset`, which ends at `src_offset`. See `stream_processors/core/gcounter.py`.
#: Flows through `usage.partials` (rollup to budgets) and `usage.windows` (budgets to ClickHouse).
WINDOW_ENTRIES = pa.schema(
    [
        ("window_kind", NAME),
        ("window_start", MICROS),
        ("window_end", MICROS),  # exclusive
        ("organization", NAME),
        ("scope_kind", NAME),
        ("scope", pa.string()),
        ("src_partition", pa.int32()),
        ("segment", pa.int64()),  # block_offset of the block that opened it; -1 for a seed
        ("block_offset", pa.int64()),
        ("src_epoch", NAME),
        ("src_offset", pa.int64()),
        *((name, pa.int64()) for name in MEASURES),
        ("cost_pico", pa.decimal128(38, 0)),  # 128 bits: int64 wraps at 9.2 million dollars
    ]
)
