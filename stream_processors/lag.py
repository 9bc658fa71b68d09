"""How far each stage is behind, by partition: `python -m stream_processors.lag --json`."""

from collections.abc import Iterable, Mapping

import click
import orjson
from confluent_kafka import Consumer, KafkaException, TopicPartition

from schemas.settings import Settings
from schemas.topics import ALERTS, BLOCKS, BUDGETS, BY_NAME, EVENTS, LIMITS, PERIODS, RESPONSES, WINDOWS
from stream_processors.chain_head import find_head
from stream_processors.logs import LogReader, topic_id

WINDOWS_GROUP, SINK_GROUP = "tollbook-windows", "tollbook-sink"
SINK_TOPICS = (BLOCKS, WINDOWS, ALERTS, LIMITS, BUDGETS, PERIODS, RESPONSES)
TIMEOUT_S = 10.0
TAIL = 4  # blocks read first: they may be large, and few stand behind the head

Place = tuple[str, int]  # topic and partition


def lag(settings: Settings) -> dict[str, dict[str, int]]:
    """Records not done yet, by stage and `topic[partition]`. Raises KafkaException when the broker is away."""
    epoch = topic_id(settings.kafka, EVENTS)
    with LogReader(settings.kafka) as reader:
        wanted = ends(reader, settings, SINK_TOPICS)
        blocks = {place: end for place, end in wanted.items() if place[0] == BLOCKS}
        return {
            "rating": {f"{EVENTS}[{partition}]": _unrated(reader, partition, epoch) for _, partition in blocks},
            "windows": _behind(reader, committed(settings.kafka, WINDOWS_GROUP, blocks), blocks),
            "sink": _behind(reader, committed(settings.kafka, SINK_GROUP, wanted), wanted),
        }


def ends(reader: LogReader, settings: Settings, topics: Iterable[str]) -> dict[Place, int]:
    """The offset after the last record of each partition."""
    places = [(topic, part) for topic in topics for part in range(BY_NAME[topic].partitions or settings.partitions)]
    return {place: reader.bounds(*place)[1] for place in places}


def committed(kafka: str, group: str, places: Iterable[Place]) -> dict[Place, int]:
    """Committed offsets of a group; negative where it has none. Raises KafkaException."""
    wanted = [TopicPartition(*place) for place in places]
    if not wanted:
        return {}
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": group, "enable.auto.commit": False})
    try:
        found = consumer.committed(wanted, timeout=TIMEOUT_S)
    finally:
        consumer.close()
    return {(one.topic, one.partition): one.offset for one in found}


def _unrated(reader: LogReader, partition: int, epoch: str) -> int:
    low, end = reader.bounds(EVENTS, partition)
    return max(0, end - max(low, rated_to(reader, partition, epoch)))


def rated_to(reader: LogReader, partition: int, epoch: str) -> int:
    """The event after the last one that the chain accounts for; 0 when it is of another epoch, or nothing is kept."""
    first_block, blocks_end = reader.bounds(BLOCKS, partition)
    if first_block == blocks_end:
        return 0
    chain, _, _ = find_head(reader, partition, TAIL)
    return (chain.next_offset or 0) if chain.epoch == epoch else 0


def _behind(reader: LogReader, done: Mapping[Place, int], wanted: Mapping[Place, int]) -> dict[str, int]:
    """A partition without a commit has everything that the log keeps before it."""
    return {
        f"{place[0]}[{place[1]}]": max(0, end - (done[place] if done[place] >= 0 else reader.bounds(*place)[0]))
        for place, end in wanted.items()
    }


@click.command(epilog="Example: python -m stream_processors.lag --json")
@click.option("--json", "as_json", is_flag=True, help="One JSON object: stage, partition, records behind.")
def main(as_json: bool) -> None:
    """Print how far each stage is behind. Exit 3 when Kafka is away."""
    try:
        found = lag(Settings())
    except KafkaException as error:
        click.echo(f"Kafka cannot be asked: {error}", err=True)
        raise SystemExit(3) from error
    if as_json:
        click.echo(orjson.dumps(found))
        return
    for stage, partitions in found.items():
        for name, count in partitions.items():
            click.echo(f"{stage:8} {name:20} {count}")


if __name__ == "__main__":
    main()
