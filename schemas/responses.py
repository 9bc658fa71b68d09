"""What people answer to alerts: records of `usage.responses`, JSON, compacted by key.

An acknowledgement says that somebody has seen an alert; a snooze, that a budget is not to be told about for a while.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import orjson
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter

EACH = "*"


class _Response(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    author: str
    at: AwareDatetime


class Acknowledgement(_Response):
    """An alert was seen."""

    kind: Literal["acknowledged"] = "acknowledged"
    alert_id: str
    note: str = ""

    @property
    def key(self) -> bytes:
        """The newest of an alert counts."""
        return orjson.dumps([self.kind, self.alert_id])


class Snooze(_Response):
    """Alerts of a budget about these scopes are not told before `until`, unless they are critical."""

    kind: Literal["snoozed"] = "snoozed"
    budget_id: str
    organization: str  # a name, or `*`
    scope: str  # a name, or `*`
    until: AwareDatetime

    @property
    def key(self) -> bytes:
        """The newest of these scopes counts; one that is over ends what was said before."""
        return orjson.dumps([self.kind, self.budget_id, self.organization, self.scope])

    def covers(self, alert: Mapping[str, Any]) -> bool:
        """Whether an alert (fields of `alert.v1`) is about them."""
        return (
            alert["budget_id"] == self.budget_id
            and self.organization in (EACH, alert["organization"])
            and self.scope in (EACH, alert["scope"])
        )


Response = Annotated[Acknowledgement | Snooze, Field(discriminator="kind")]
_FORM: TypeAdapter[Acknowledgement | Snooze] = TypeAdapter(Response)


def parse_response(value: bytes) -> Acknowledgement | Snooze:
    """A record's value. pydantic.ValidationError, which is a ValueError, names what is wrong."""
    return _FORM.validate_json(value)
