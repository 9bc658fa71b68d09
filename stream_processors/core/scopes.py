"""Numbers for scopes, so that totals live in arrays: (kind, organization, name) to a small integer and back."""

import zlib

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.arrow import SCOPE_KINDS

Ids = npt.NDArray[np.int64]


class ScopeIndex:
    """Grows only. `hashes` decide a scope's shard everywhere; they are the same in every process."""

    def __init__(self) -> None:
        self._ids: dict[tuple[int, str, str], int] = {}
        self.kinds: list[int] = []
        self.organizations: list[str] = []
        self.names: list[str] = []
        self.hashes: Ids = np.zeros(1024, np.int64)

    def __len__(self) -> int:
        return len(self.names)

    def id_of(self, kind: int, organization: str, name: str) -> int:
        """The number of a scope, a new one when it was never seen. `kind` indexes `SCOPE_KINDS`."""
        key = (kind, organization, name)
        known = self._ids.get(key)
        if known is not None:
            return known
        number = self._ids[key] = len(self.names)
        self.kinds.append(kind)
        self.organizations.append(organization)
        self.names.append(name)
        if number == len(self.hashes):
            self.hashes = np.concatenate((self.hashes, np.zeros_like(self.hashes)))
        self.hashes[number] = zlib.crc32("\0".join((SCOPE_KINDS[kind], organization, name)).encode())
        return number


def scope_ids(rows: pa.RecordBatch, kind: int, index: ScopeIndex) -> tuple[npt.NDArray[np.int32], Ids]:
    """For each row a code, and for each code the scope's id; a code stands for one (organization, name)."""
    organizations = rows.column("organization")
    names = rows.column(SCOPE_KINDS[kind])
    organization_texts = organizations.dictionary.to_pylist()
    name_texts = names.dictionary.to_pylist()
    pairs = organizations.indices.to_numpy().astype(np.int64) * len(name_texts) + names.indices.to_numpy()
    distinct, codes = np.unique(pairs, return_inverse=True)
    ids = [
        index.id_of(kind, organization_texts[pair // len(name_texts)], name_texts[pair % len(name_texts)])
        for pair in distinct.tolist()
    ]
    return codes.astype(np.int32), np.array(ids, np.int64)
