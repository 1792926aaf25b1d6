"""A thread that takes jobs off the queue as a worker does, and answers them as a test wants."""

from __future__ import annotations

import base64
import json
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import redis

from worker.contract import KEY_PREFIX, ScoreReply, Serving, online_queue, reply_key, serving_key


@contextmanager
def stub_worker(
    url: str, make_reply: Callable[[dict], ScoreReply | None], *, workers: int = 1, **serving: object
) -> Iterator[list[dict]]:
    """Marks the model `tiny` as served and answers its jobs; yields the Celery messages as they came.

    Args:
        workers: how many seem to serve it.
        serving: what each of them tells, see `Serving`.
    """
    messages: list[dict] = []
    client = redis.Redis.from_url(url)
    stopped = threading.Event()

    def mark() -> None:
        told = Serving(**{"version": "1", "renewed": time.time(), **serving}).to_field()
        client.hset(serving_key("tiny"), mapping={f"stub-{number}": told for number in range(workers)})

    def work() -> None:
        while not stopped.is_set():
            mark()
            popped = client.brpop([f"{KEY_PREFIX}{online_queue('tiny')}"], timeout=0.2)
            if popped:
                messages.append(json.loads(popped[1]))
                job = read_job(messages[-1])
                if reply := make_reply(job):
                    version = reply.model_version or serving.get("version", "1")
                    told = reply.model_copy(update={"model_version": version})
                    client.rpush(reply_key(job["id"]), told.to_message())

    mark()
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield messages
    finally:
        stopped.set()
        thread.join()
        client.close()


def read_job(message: dict) -> dict:
    """The job in a Celery message."""
    body = message["body"]
    if message["headers"].get("compression"):
        body = zlib.decompress(base64.b64decode(body))
    return json.loads(body)[0][0]


def length_of_each(job: dict) -> ScoreReply:
    lengths = tuple(map(len, job["passages"]))
    return ScoreReply(id=job["id"], part=job["part"], scores=lengths, model_ms=3.0, n_tokens=7 * len(lengths))
