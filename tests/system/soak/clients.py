"""Knows how people search: at random, one search after the other; some do not wait for the answer."""

import json
import random
import socket
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count

import urllib3

from tests.system.soak.truth import INDEX, PAGES, QUERIES, Search

CLIENTS = 16
FRESH = 0.25  # of the searches have a query that nobody asked before
HANGUPS = 0.04  # of the searches are given up
PATIENCE_S = 30.0
salts = count()


@dataclass(frozen=True)
class Answered:
    """One search that was waited for; moments by the monotonic clock."""

    search: Search
    sent: float
    took_s: float
    status: str = ""
    reason: str = ""
    fault: str = ""
    hits: list = field(default_factory=list, repr=False)  # of a fresh query, whose scores are compared later

    @property
    def is_applied(self):
        return self.status == "applied"

    @property
    def got(self):
        return self.sent + self.took_s


class Clients:
    """Threads that search from `searching`'s begin to its end.

    Attributes:
        think_s: what a client waits after an answer, on average.
        sent, hung_up: how many searches.
        answers: in the order in which they came.
    """

    def __init__(self, url, truth, seed, *, think_s):
        self.think_s = think_s
        self.sent = self.hung_up = 0
        self.answers = []
        self._url, self._truth, self._seed = url, truth, seed
        self._counting = threading.Lock()
        self._enough = threading.Event()

    @contextmanager
    def searching(self):
        threads = [threading.Thread(target=self._search_on, args=(number,)) for number in range(CLIENTS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._enough.set()
            for thread in threads:
                thread.join()

    def _search_on(self, number):
        dice = random.Random(f"{self._seed}/{number}")
        with urllib3.PoolManager() as pool:
            while not self._enough.wait(dice.expovariate(1 / self.think_s)):
                search = _choose(dice)
                with self._counting:
                    self.sent += 1
                if dice.random() < HANGUPS:
                    self._give_up(search, dice)
                else:
                    self.answers.append(self._ask(pool, search))

    def _ask(self, pool, search):
        started = time.monotonic()
        try:
            answer = pool.request(
                "POST", f"{self._url}/{INDEX}/_search", json=search.body, retries=False, timeout=PATIENCE_S
            )
        except urllib3.exceptions.HTTPError as error:
            return Answered(search, started, time.monotonic() - started, fault=f"no answer: {error!r}")
        took_s = time.monotonic() - started
        status, reason = (answer.headers.get(f"X-Rerank-{name}", "") for name in ("Status", "Reason"))
        fault = self._truth.find_fault(search, answer)
        hits = answer.json()["hits"]["hits"] if search.salt and status == "applied" and not fault else []
        return Answered(search, started, took_s, status, reason, fault, hits)

    def _give_up(self, search, dice):
        """Close the connection when all of the request is sent, or half of it, and some time has passed."""
        body = json.dumps(search.body)
        head = f"POST /{INDEX}/_search HTTP/1.1\r\nHost: g\r\nContent-Type: application/json\r\n"
        request = f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()
        host, port = self._url.removeprefix("http://").split(":")
        with suppress(OSError), socket.create_connection((host, int(port)), timeout=PATIENCE_S) as client:
            client.sendall(request if dice.random() < 0.8 else request[: len(request) // 2])
            time.sleep(dice.uniform(0, 0.5))
        with self._counting:
            self.hung_up += 1


def _choose(dice):
    query = dice.choice(QUERIES)
    if dice.random() < FRESH:
        return Search(query, salt=f"zzq{next(salts)}")
    return Search(query, *dice.choice(PAGES))
