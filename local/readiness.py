"""Asks a running process whether it is ready to serve. Each question is short: the supervisor waits for it."""

import socket
import urllib.request
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

TIMEOUT_S = 1.0
# What listens on this machine is asked directly, whatever `http_proxy` says.
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def http_answers(url: str) -> bool:
    """Whether a GET of the address gives 200."""
    try:
        with _direct.open(url, timeout=TIMEOUT_S) as answer:
            return bool(answer.status == 200)
    except OSError:  # refused, reset, timed out, or another status
        return False


def kafka_answers(address: str) -> bool:
    """Whether a broker at `host:port` tells who the brokers are."""
    if not _listens(address):  # the client would try again until its time-out
        return False
    client = AdminClient({"bootstrap.servers": address, "log_level": 0, "allow.auto.create.topics": False})
    try:
        return bool(client.list_topics(timeout=TIMEOUT_S).brokers)
    except KafkaException:
        return False


def _listens(address: str) -> bool:
    host, port = address.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), timeout=TIMEOUT_S).close()
    except OSError:
        return False
    return True


def file_names(path: Path, pid: int) -> bool:
    """Whether the process has written its own pid into its readiness file."""
    try:
        return path.read_text().strip() == str(pid)
    except FileNotFoundError:
        return False
