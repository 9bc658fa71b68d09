"""Another directory for what is booked: the correction that `tollbook directory correct` makes."""

from collections.abc import Mapping
from functools import cache

import pyarrow as pa

from stream_processors.core.corrections import Corrections
from stream_processors.core.directory import Directory
from stream_processors.core.directory_forms import History, latest_version, people_at
from stream_processors.core.reassignment import DIRECTORY_TAG, MOVABLE_ROWS, reassign
from stream_processors.core.statements import MOVED_IN, MOVED_TAG
from stream_processors.correct import SELECT, Correction

_MOVED = f"(usage.kind = 'adjustment' AND usage.tags['{MOVED_TAG}'] != '')"
_OURS = f"({_MOVED} AND usage.tags['{DIRECTORY_TAG}'] = {{version:String}})"
# From which block on each version filled in: of neighbours with the same version the first.
_VERSIONS = """
    SELECT src_partition, block_offset AS since, directory_version
    FROM
    (
        SELECT
            src_partition,
            block_offset,
            directory_version,
            lagInFrame(directory_version, 1, toInt64(-1)) OVER (
                PARTITION BY src_partition ORDER BY block_offset ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
            ) AS before
        FROM blocks FINAL
    )
    WHERE directory_version != before"""
_SELECT = f"""{SELECT},
    if({_MOVED}, usage.event_id, '') AS entry_id,
    if({_MOVED} AND usage.tags['{MOVED_TAG}'] = '{MOVED_IN}', toInt64OrZero(usage.tags['{DIRECTORY_TAG}']),
        filled_by.directory_version) AS directory_version
FROM usage
ASOF LEFT JOIN ({_VERSIONS}
) AS filled_by ON usage.src_partition = filled_by.src_partition AND usage.block_offset >= filled_by.since"""


def reassignment(histories: Mapping[str, History], reason: str, author: str) -> Correction:
    """To where the newest version of the directory has everybody."""
    version = latest_version(histories)

    @cache
    def directory_at(wanted: int) -> Directory:
        return Directory(people_at(histories, wanted).values(), wanted)

    def find(rows: pa.RecordBatch) -> Corrections:
        return reassign(rows, directory_at, version, reason or f"directory version {version}", author)

    return Correction(_SELECT, MOVABLE_ROWS, _OURS, str(version), True, find)
