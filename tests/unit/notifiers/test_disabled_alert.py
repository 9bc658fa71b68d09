"""The alert about a channel that is gone is a record of the schema, with the same id when it is told again."""

from notifiers.alert_topic import AVRO, disabled_alert
from notifiers.outbox import Disabled
from schemas.codec import avro_schema, decode, encode


def test_it_is_a_record_of_the_schema() -> None:
    disabled = Disabled("hook", 1_768_003_200_000_000, "status 410: gone")
    read = decode(encode(disabled_alert(disabled), AVRO, 1), avro_schema(AVRO))
    assert (read["type"], read["state"], read["scope_kind"], read["scope"]) == ("pipeline", "raised", "channel", "hook")
    assert read["deliver"] is True
    assert "tollbook notify resume hook" in read["detail"]
    assert disabled_alert(disabled) == disabled_alert(disabled)
