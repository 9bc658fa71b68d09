"""Unpriced is not $0: which models have usage that no price covers, told once each."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

TYPE = "unpriced"


@dataclass(frozen=True, slots=True)
class Unpriced:
    """A model, and the first of its events in a block that has no price."""

    provider: str
    model: str
    organization: str
    event_id: str

    @property
    def alert_id(self) -> str:
        """One a model, whoever raises it and however often."""
        return hashlib.sha256(f"{TYPE}:{self.provider}:{self.model}".encode()).hexdigest()[:32]


def unpriced_models(rows: pa.RecordBatch) -> list[Unpriced]:
    """Each provider and model of USAGE_ROWS with usage that has no price."""
    places = np.flatnonzero(rows.column("unpriced_requests").to_numpy() > 0)
    if not len(places):
        return []
    provider, model = rows.column("provider"), rows.column("model")
    codes = (
        provider.indices.to_numpy()[places].astype(np.int64) * len(model.dictionary) + model.indices.to_numpy()[places]
    )
    _, firsts = np.unique(codes, return_index=True)
    return [
        Unpriced(*(rows.column(name)[place].as_py() for name in ("provider", "model", "organization", "event_id")))
        for place in places[np.sort(firsts)].tolist()
    ]


def unpriced_alert(found: Unpriced, at: int) -> dict[str, Any]:
    """A record of `alert.v1`; `at` in microseconds UTC. It concerns no window and no budget."""
    return {
        "alert_id": found.alert_id,
        "type": TYPE,
        "state": "raised",
        "revision": 0,
        "budget_id": "",
        "organization": found.organization,
        "scope_kind": "model",
        "scope": f"{found.provider}/{found.model}",
        "window_kind": "",
        "window_start": at,
        "window_end": at,
        "threshold": 0,
        "used": "0",
        "limit": "0",
        "unit": "",
        "severity": "warning",
        "detail": f"Usage of {found.model} by {found.provider} has no price: its tokens count, its cost is not known. "
        f"`tollbook prices show {found.model} --provider {found.provider}` tells what is",
        "cause_event": found.event_id,
        "positions": [],
        "late": False,
        "deliver": True,
        "raised_at": at,
    }
