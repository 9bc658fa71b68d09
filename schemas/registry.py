"""The schema registry, through its Confluent-compatible interface. Every call has a time-out."""

from functools import cache

from schemas.codec import avro_text
from schemas.topics import BY_NAME, Topic

TIMEOUT_S = 5.0
RETRIES = 2
UNKNOWN_ID = (404, 422)


class RegistryAwayError(Exception):
    """The registry did not answer in time, or not as a registry does. Try again, or look why it is away."""


class Registry:
    """What the ledger asks of a registry. Safe to share between threads; answers about ids are kept."""

    def __init__(self, url: str, timeout_s: float = TIMEOUT_S) -> None:
        # Not at the top: they bring authlib along, half a second that commands which ask no registry do without.
        import httpx2
        from confluent_kafka import schema_registry

        self.url = url
        self._schema = schema_registry.Schema
        self._refused = schema_registry.error.SchemaRegistryError
        self._cut_off = httpx2.HTTPError
        self._client = schema_registry.SchemaRegistryClient(
            {"url": url, "timeout": timeout_s, "max.retries": RETRIES, "retries.wait.ms": 100}
        )
        self.schema_id = cache(self._schema_id)
        self._known: dict[int, str] = {}

    def schema_text(self, schema_id: int) -> str | None:
        """The JSON text of the schema `schema_id`, or None when the registry does not know that id.

        Raises RegistryAwayError when it cannot be asked: unknown and unreachable are different things.
        """
        if schema_id not in self._known:
            try:
                self._known[schema_id] = str(self._client.get_schema(schema_id).schema_str)
            except self._refused as error:
                if error.http_status_code in UNKNOWN_ID:
                    return None
                raise self._away(error) from error
            except self._cut_off as error:
                raise self._away(error) from error
        return self._known[schema_id]

    def register(self, topic: Topic, text: str) -> int:
        """Registers `text` as the value schema of `topic`; its id, the same one when it was there.

        Raises SchemaRegistryError (status 409) when it is not backward compatible; RegistryAwayError.
        """
        try:
            return self._client.register_schema(subject(topic), self._schema(text, "AVRO"))
        except self._cut_off as error:
            raise self._away(error) from error

    def require_backward(self) -> None:
        """A new version of a schema must be able to read what the one before it wrote. Raises RegistryAwayError."""
        try:
            self._client.set_compatibility(level="BACKWARD")
        except (self._refused, self._cut_off) as error:
            raise self._away(error) from error

    def close(self) -> None:
        self._client.close()

    def _schema_id(self, topic_name: str) -> int:
        """The id under which this version's schema of the topic is registered.

        Raises RegistryAwayError; LookupError when it is not registered (`python -m schemas.provision` does that).
        """
        topic = BY_NAME[topic_name]
        if topic.avro is None:
            raise LookupError(f"topic {topic_name}: its values are not Avro")
        try:
            found = self._client.lookup_schema(subject(topic), self._schema(avro_text(topic.avro), "AVRO"))
        except self._refused as error:
            if error.http_status_code == 404:
                raise LookupError(
                    f"schema {topic.avro}: not registered as {subject(topic)}; run `python -m schemas.provision`"
                ) from error
            raise self._away(error) from error
        except self._cut_off as error:
            raise self._away(error) from error
        if found.schema_id is None:
            raise RegistryAwayError(f"schema registry {self.url}: an answer without an id for {subject(topic)}")
        return found.schema_id

    def _away(self, error: Exception) -> RegistryAwayError:
        return RegistryAwayError(f"schema registry {self.url}: {error!r}")


def subject(topic: Topic) -> str:
    """The registry's name for the values of a topic."""
    return f"{topic.name}-value"
