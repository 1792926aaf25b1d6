"""Knows how a message goes through Redis at less cost than kombu's own transport; for both ends of a queue.

The package itself leaves this out, since it needs kombu.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kombu.transport import redis, virtual
from kombu.utils.json import dumps

from worker.contract.names import KEY_PREFIX, ONLINE_PREFIX

_NOTE_HEADER = "rerank-note"


def note(key: str, member: str, score: float) -> dict[str, Any]:
    """Headers of a message that adds a member to a sorted set in the same round trip in which it is sent."""
    return {_NOTE_HEADER: (key, member, score)}


class FrugalQoS(redis.QoS):
    """Keeps a message in Redis until it is acknowledged only where it is bulk.

    A search's job would be late when it came again. Both count among those that a worker may take.
    """

    def append(self, message: Any, delivery_tag: str) -> None:
        """See `QoS`; called where messages are received."""
        keep: Any = virtual.QoS.append if _is_search(message) else redis.QoS.append
        keep(self, message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        """See `QoS`; called by any thread."""
        if self.channel.closed:
            return  # it comes again; kombu would connect anew for this, and keep the connection
        message = self._delivered.get(delivery_tag)
        forget: Any = virtual.QoS.ack if message and _is_search(message) else redis.QoS.ack
        forget(self, delivery_tag)


if TYPE_CHECKING:
    _Channel = redis.Channel
else:
    _Channel = object


class _Frugal(_Channel):
    """What both channels do otherwise than kombu's."""

    QoS = FrugalQoS
    _plain_client: Any = None

    def _create_client(self, asynchronous: bool = False) -> Any:
        """See `Channel`; kombu makes one for each command."""
        create: Any = super()._create_client
        if asynchronous:
            return create(asynchronous=True)
        if self._plain_client is None or self._plain_client.connection_pool is not self.pool:
            self._plain_client = create()
        return self._plain_client

    def encode_body(self, body: Any, encoding: str | None = None) -> Any:
        """See `Channel`; text needs no base64, which makes it longer by a third."""
        encode: Any = super().encode_body
        return encode(body, None if isinstance(body, str) else encoding)

    def _put(self, queue: str, message: dict[str, Any], **options: Any) -> None:
        """See `Channel`."""
        if not (noted := message["headers"].pop(_NOTE_HEADER, None)):
            put: Any = super()._put
            put(queue, message, **options)
            return
        key, member, score = noted
        with self._create_client().pipeline(transaction=False) as pipeline:
            pipeline.zadd(key.removeprefix(KEY_PREFIX), {member: score})  # kombu's client puts it back
            pipeline.lpush(queue, dumps(message))  # type: ignore[no-untyped-call]
            pipeline.execute()


class FrugalChannel(_Frugal, redis.Channel):
    """To one Redis."""


class FrugalSentinelChannel(_Frugal, redis.SentinelChannel):
    """To that which Sentinels name."""


class RedisTransport(redis.Transport):
    """For Celery's ``broker_transport``."""

    Channel = FrugalChannel


class SentinelTransport(redis.SentinelTransport):
    """For Celery's ``broker_transport``, with Sentinels."""

    Channel = FrugalSentinelChannel


def _is_search(message: Any) -> bool:
    return bool(message.delivery_info["routing_key"].startswith(ONLINE_PREFIX))
