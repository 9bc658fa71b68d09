"""The usage event as a checked Python object: what a producer builds before anything is sent.

Same fields, names and defaults as `avro/usage_event.v1.avsc`. An event that breaks a rule cannot be built; the
`pydantic.ValidationError` names field, value and rule (`explain` says it in one line).
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from schemas.arrow import TOKEN_CLASSES
from schemas.instant import Instant

MAX_COUNT = 10**9  # tokens a class, units a kind: beyond this it is a mistake, not a use
MAX_ID = 128
MAX_INT32 = 2**31 - 1
MAX_INT64 = 2**63 - 1
#: Disjoint or nested parts of a count: their sum never exceeds it.
PARTS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("cache_read_tokens", "cache_write_tokens"), "input_tokens"),
    (("cache_write_1h_tokens",), "cache_write_tokens"),
    (("input_audio_tokens", "input_image_tokens"), "input_tokens"),
    (("reasoning_tokens",), "output_tokens"),
    (("output_audio_tokens",), "output_tokens"),
)
ADJUSTMENT_FIELDS = ("corrects", "adjustment_type", "amount_pico", "reason", "author")


AdjustmentType = Literal[
    "reversal",
    "reinstatement",
    "correction",
    "re-rating",
    "pricing",
    "unpricing",
    "credit",
    "allocation",
    "settlement",
    "manual",
]


class AdjustmentRule(NamedTuple):
    """What an adjustment of one type does to a window's counts, and what it must state."""

    requests: int  # and, when it states no amount, also the change of `unpriced_requests`
    unpriced_requests: int
    corrects: bool  # names the event it corrects
    amount: bool  # states an amount; without one it changes no cost: the usage that it corrects has no price


#: The closed set of adjustment types. An entry that takes back another has the opposite effect.
ADJUSTMENT_RULES: Mapping[str, AdjustmentRule] = {
    "reversal": AdjustmentRule(-1, 0, corrects=True, amount=False),
    "reinstatement": AdjustmentRule(1, 0, corrects=True, amount=False),
    "correction": AdjustmentRule(0, 0, corrects=True, amount=False),
    "re-rating": AdjustmentRule(0, 0, corrects=True, amount=True),
    "pricing": AdjustmentRule(0, -1, corrects=True, amount=True),
    "unpricing": AdjustmentRule(0, 1, corrects=True, amount=True),
    "credit": AdjustmentRule(0, 0, corrects=False, amount=True),
    "allocation": AdjustmentRule(0, 0, corrects=False, amount=True),
    "settlement": AdjustmentRule(0, 0, corrects=False, amount=True),
    "manual": AdjustmentRule(0, 0, corrects=False, amount=True),
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

Id = Annotated[str, Field(min_length=1, max_length=MAX_ID)]
Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]
SignedCount = Annotated[int, Field(ge=-MAX_COUNT, le=MAX_COUNT)]
Millis = Annotated[int, Field(ge=0, le=MAX_INT32)]
Name = Annotated[str, Field(min_length=1)]


class _Record(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class QualityGate(_Record):
    """A check that the output went through."""

    gate: str
    passed: bool
    score: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None
    detail: str = ""


class Attachment(_Record):
    """A file that was input."""

    file_id: str
    name: str = ""
    bytes: Annotated[int, Field(ge=0, le=MAX_INT64)] = 0
    tokens: Count = 0


class UsageEvent(_Record):
    """One use of a model. Never prompt or answer text."""

    event_id: Id
    source: Id
    revision: Millis = 0
    kind: Literal["usage", "provisional", "final", "adjustment"] = "usage"
    occurred_at: Instant
    corrects: Annotated[str, Field(max_length=MAX_ID)] = ""
    adjustment_type: Literal["", AdjustmentType] = ""
    amount_pico: Annotated[int, Field(ge=-MAX_INT64, le=MAX_INT64)] | None = None
    reason: str = ""
    author: str = ""
    organization: Id
    business_unit: str = ""
    cost_center: str = ""
    department: str = ""
    team: str = ""
    user: str = ""
    project: str = ""
    task: str = ""
    session: str = ""
    feature: str = ""
    tool: str = ""
    integration: str = ""
    platform: str = ""
    environment: str = ""
    task_title: str = ""
    task_type: str = ""
    step: str = ""
    session_title: str = ""
    quality: Annotated[tuple[QualityGate, ...], Field(strict=False)] = ()
    attachments: Annotated[tuple[Attachment, ...], Field(strict=False)] = ()
    input_parts: dict[Name, Count] = {}
    output_parts: dict[Name, Count] = {}
    tags: dict[Name, str] = {}
    provider: str
    model: str
    operation: str = ""
    service_tier: Literal["default", "batch", "flex", "priority"] = "default"
    region: str = ""
    max_output_tokens: Annotated[int, Field(ge=0, le=MAX_INT64)] | None = None
    finish_reason: str = ""
    input_tokens: SignedCount = 0
    output_tokens: SignedCount = 0
    cache_read_tokens: SignedCount = 0
    cache_write_tokens: SignedCount = 0
    cache_write_1h_tokens: SignedCount = 0
    input_audio_tokens: SignedCount = 0
    input_image_tokens: SignedCount = 0
    reasoning_tokens: SignedCount = 0
    output_audio_tokens: SignedCount = 0
    units: dict[Name, SignedCount] = {}
    status: Literal["ok", "error", "cancelled"] = "ok"
    error_type: str = ""
    latency_ms: Millis | None = None
    time_to_first_token_ms: Millis | None = None

    @model_validator(mode="after")
    def _kind_decides(self) -> Self:
        if self.kind == "adjustment":
            self._check_adjustment()
        else:
            self._check_use()
        return self

    def _check_adjustment(self) -> None:
        _require(self.adjustment_type != "", "adjustment_type", "", "an adjustment names its type")
        _require(self.reason != "", "reason", "", "an adjustment says why")
        _require(self.author != "", "author", "", "an adjustment says who made it")
        _require(self.revision == 0, "revision", self.revision, "an adjustment has none")
        rule = ADJUSTMENT_RULES[self.adjustment_type]
        kind = f"adjustment_type = {self.adjustment_type!r}"
        _require(self.corrects != "" or not rule.corrects, "corrects", "", f"{kind} names an event_id")
        _require(self.amount_pico is not None or not rule.amount, "amount_pico", None, f"{kind} states an amount")

    def _check_use(self) -> None:
        for field in ADJUSTMENT_FIELDS:
            value = getattr(self, field)
            _require(value in ("", None), field, value, "only an adjustment has it")
        for field in ("provider", "model"):
            _require(getattr(self, field) != "", field, "", "a use names it")
        for field in TOKEN_CLASSES:
            _require(getattr(self, field) >= 0, field, getattr(self, field), "only an adjustment may be negative")
        for name, count in self.units.items():
            _require(count >= 0, f"units[{name!r}]", count, "only an adjustment may be negative")
        for parts, whole in PARTS:
            self._check_parts(" + ".join(parts), sum(getattr(self, part) for part in parts), whole)
        self._check_parts("sum of input_parts", sum(self.input_parts.values()), "input_tokens")
        self._check_parts("sum of output_parts", sum(self.output_parts.values()), "output_tokens")
        self._check_parts("sum of attachments' tokens", sum(file.tokens for file in self.attachments), "input_tokens")

    def _check_parts(self, parts: str, count: int, whole: str) -> None:
        _require(count <= getattr(self, whole), parts, count, f"at most {whole} = {getattr(self, whole)}")

    def to_avro(self) -> dict[str, Any]:
        """The record that `schemas.codec.encode` takes, `occurred_at` in microseconds UTC."""
        return self.model_dump() | {"occurred_at": (self.occurred_at - _EPOCH) // _MICROSECOND}


def _require(holds: bool, field: str, value: object, rule: str) -> None:
    if not holds:
        raise ValueError(f"{field} = {value!r}: {rule}")


def event_key(organization: str, user: str, event_id: str) -> bytes:
    """Kafka's key of an event: one user's events keep their order; without a user, retries still meet."""
    return (f"{organization}/{user}" if user else event_id).encode()


def explain(error: ValidationError) -> str:
    """What is wrong with an event, in one line: field, value and rule of each fault."""
    return "; ".join(_explain_one(fault["loc"], fault["input"], fault["msg"]) for fault in error.errors())


def explain_parts(error: ValidationError) -> list[tuple[str, Any, str]]:
    """The same as field, value and rule of each fault; a rule between fields names them itself and has no value."""
    return [
        (".".join(map(str, fault["loc"])), fault["input"] if fault["loc"] else None, _explain_rule(fault["msg"]))
        for fault in error.errors(include_url=False, include_context=False)
    ]


def _explain_rule(message: str) -> str:
    return message.removeprefix("Value error, ")


def _explain_one(location: tuple[int | str, ...], value: object, rule: str) -> str:
    if not location:  # a rule between fields names them itself
        return _explain_rule(rule)
    shown = "(missing)" if rule == "Field required" else _shown(value)
    return f"{'.'.join(map(str, location))} = {shown}: {_explain_rule(rule)}"


def _shown(value: object) -> str:
    """As a person wrote it."""
    return str(value) if isinstance(value, (Decimal, date)) else repr(value)[:100]
