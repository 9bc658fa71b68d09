"""Numbers for scopes, so that totals live in arrays: (kind, organization, name) to a small integer and back."""

import zlib

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.arrow import SCOPE_KINDS

Ids = npt.NDArray[np.int64]


class ScopeIndex:
    """Grows only. `hashes` decide a scope's shard everywhere; they are the same in every process.

    `kinds` are indices of `kind_names`: the standing scope kinds, whose numbers never change, then tracks by their
    selections, in the order in which this process met them.
    """

    def __init__(self) -> None:
        self._groups: dict[tuple[int, str], tuple[str, dict[str, int]]] = {}  # (kind, organization): ids by name
        self.kind_names: list[str] = list(SCOPE_KINDS)
        self._kinds = {name: number for number, name in enumerate(SCOPE_KINDS)}
        self.kinds: list[int] = []
        self.organizations: list[str] = []
        self.names: list[str] = []
        self.hashes: Ids = np.zeros(1024, np.int64)

    def __len__(self) -> int:
        return len(self.names)

    def kind_of(self, name: str) -> int:
        """The number of a standing scope kind or of a selection, a new one when it was never seen."""
        number = self._kinds.get(name)
        if number is None:
            number = self._kinds[name] = len(self.kind_names)
            self.kind_names.append(name)
        return number

    def id_of(self, kind: int, organization: str, name: str) -> int:
        """The number of a scope, a new one when it was never seen. `kind` indexes `kind_names`."""
        group = self._groups.get((kind, organization))
        if group is None:
            group = self._groups[kind, organization] = (organization, {})
        organization, ids = group  # one text for all of its scopes
        known = ids.get(name)
        if known is not None:
            return known
        number = ids[name] = len(self.names)
        self.kinds.append(kind)
        self.organizations.append(organization)
        self.names.append(name)
        if number == len(self.hashes):
            self.hashes = np.concatenate((self.hashes, np.zeros_like(self.hashes)))
        self.hashes[number] = zlib.crc32("\0".join((self.kind_names[kind], organization, name)).encode())
        return number


def scope_ids(rows: pa.RecordBatch, kind: int, column: str, index: ScopeIndex) -> tuple[npt.NDArray[np.int32], Ids]:
    """For each row a code, and for each code the scope's id; a code stands for one (organization, name)."""
    organizations = rows.column("organization")
    names = rows.column(column)
    if not pa.types.is_dictionary(names.type):  # tasks and sessions
        names = names.dictionary_encode()
    organization_texts = organizations.dictionary.to_pylist()
    name_texts = names.dictionary.to_pylist()
    pairs = organizations.indices.to_numpy().astype(np.int64) * len(name_texts) + names.indices.to_numpy()
    distinct, codes = np.unique(pairs, return_inverse=True)
    ids = [
        index.id_of(kind, organization_texts[pair // len(name_texts)], name_texts[pair % len(name_texts)])
        for pair in distinct.tolist()
    ]
    return codes.astype(np.int32), np.array(ids, np.int64)
