"""Knows how experiments stand in Redis: what each answer showed, and what came of it, in flat sums.

Units are the sessions or users that are dealt among the arms. Sums are kept by part (`N_BUCKETS` of them, by
a hash of the unit), so that the spread between units can be told, and never by unit: memory stays flat.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from redis import Redis

from gateway.experiments.events import Event
from search_plugin import Difference, Experiment, Trial
from worker.contract import SHOWN_ANSWERS_KEY, done_key, experiment_key, shown_key, units_key

N_BUCKETS = 512
UNIT_BITS = 1 << 20
MILLION = 1_000_000
"""Of what shares are counted in."""

_LIFE_S = 90 * 86_400  # of sums that nothing is added to
_MOST_ANSWERS = 200_000
_MOST_ACTIONS = 300  # of one answer
_MOST_SHOWN = 100
_DIGEST_BYTES = 8
_NOBODY = "-"


@dataclass(frozen=True)
class Tally:
    """What an experiment has counted.

    Attributes:
        started: epoch seconds; None before the first search.
        n_without_unit: searches that named no session or user.
        unit_bits: by arm, how many bits of the bitmap of its units are set.
        failed: by arm, searches whose scores were not there, and that are counted nowhere else.
        sums: figure → by arm, the sum of each part of the units.
    """

    started: float | None
    n_without_unit: int
    unit_bits: tuple[int, ...]
    failed: tuple[int, ...]
    sums: Mapping[str, Sequence[Sequence[int]]]

    def total(self, figure: str, arm: int) -> int:
        """Over all units."""
        return sum(self.sums[figure][arm])


FIGURES = (
    *("searches", "clicked", "clicks", "reciprocal"),
    *("team0", "team1", "wins0", "wins1"),
    *("compared", "places", "moved", "overlap", "other_first"),
)
"""``clicks``: of different hits; ``clicked``: searches with one; ``reciprocal``, ``overlap``: millionths."""


class Ledger:
    """Used by all threads and processes at once.

    Args:
        life_s: for how long an answer's clicks are credited.
    """

    def __init__(self, redis: Redis, life_s: int) -> None:
        self._redis = redis
        self._life_s = life_s

    def note_shown(
        self, trial: Trial, query_id: str, objects: Sequence[str], teams: Sequence[int | None]
    ) -> None:
        """An answer was given.

        Args:
            objects: what events may call the hits that it shows, in their order.
            teams: which arm picked each; empty where one arm picked all.

        Raises:
            RedisError: it can't be noted.
        """
        key, arm, bucket, now = _key(trial.experiment), trial.arm or 0, _bucket(trial), time.time()
        shown: dict[Any, Any] = {
            "experiment": f"{trial.experiment.name}:{trial.experiment.fingerprint}",
            "at": now,
            "place": f"{arm}:{bucket}",
            "objects": b"".join(map(_digest, objects[:_MOST_SHOWN])),
            "teams": "".join(_NOBODY if team is None else str(team) for team in teams[:_MOST_SHOWN]),
        }
        with self._redis.pipeline(transaction=False) as pipeline:
            self._begin(pipeline, key, now)
            pipeline.hincrby(key, _field(arm, bucket, "searches"), 1)
            units = units_key(trial.experiment.name, trial.experiment.fingerprint, arm)
            pipeline.setbit(units, trial.experiment.choose_part(trial.unit, UNIT_BITS), 1)
            pipeline.expire(units, _LIFE_S)
            pipeline.hset(shown_key(query_id), mapping=shown)
            pipeline.expire(shown_key(query_id), self._life_s)
            pipeline.zadd(SHOWN_ANSWERS_KEY, {query_id: now})
            pipeline.zremrangebyscore(SHOWN_ANSWERS_KEY, "-inf", now - self._life_s)  # gone by themselves
            pipeline.zcard(SHOWN_ANSWERS_KEY)
            *_, n_answers = pipeline.execute()
        if n_answers > _MOST_ANSWERS:
            popped: list[Any] = self._redis.zpopmin(SHOWN_ANSWERS_KEY, n_answers - _MOST_ANSWERS)
            gone = [name.decode() for name, _ in popped]
            self._redis.unlink(*map(shown_key, gone), *map(done_key, gone))

    def note_failed(self, trial: Trial) -> None:
        """A search had no scores: it shows no arm."""
        self._count(trial.experiment, {f"{trial.arm or 0}:failed": 1})

    def note_without_unit(self, experiment: Experiment) -> None:
        """A search names nobody."""
        self._count(experiment, {"no_unit": 1})

    def note_difference(self, trial: Trial, difference: Difference) -> None:
        """What is not shown was ranked too."""
        figures = {
            "compared": 1,
            "places": difference.n_places,
            "moved": difference.moved,
            "overlap": round(difference.overlap * MILLION),
            "other_first": int(difference.is_other_first),
        }
        bucket = _bucket(trial)
        self._count(trial.experiment, {_field(0, bucket, name): by for name, by in figures.items()})

    def credit(self, events: Sequence[Event], experiments: Sequence[Experiment]) -> list[str]:
        """Credit clicks to what was shown, each once.

        Returns:
            What became of each event: ``credited``, ``noted`` (no click), ``repeated``, ``unknown_query``,
            ``unknown_object``, or ``too_many`` of one answer.

        Raises:
            RedisError: it can't be told; some may have been credited.
        """
        judged = self._find_cases(events, experiments)
        cases = {number: case for number, case in enumerate(judged) if isinstance(case, _Case)}
        are_new = dict(zip(cases, self._mark(list(cases.values())), strict=True))
        clicks = {number: case for number, case in cases.items() if are_new[number] and case.is_click}
        self._credit_clicks(list(clicks.values()))
        outcomes = {number: "noted" if is_new else "repeated" for number, is_new in are_new.items()}
        outcomes |= dict.fromkeys(clicks, "credited")
        return [case if isinstance(case, str) else outcomes[number] for number, case in enumerate(judged)]

    def read(self, experiment: Experiment) -> Tally:
        """All that was counted.

        Raises:
            RedisError: it can't be read.
        """
        arms = range(len(experiment.arms))
        with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.hgetall(_key(experiment))
            for arm in arms:
                pipeline.bitcount(units_key(experiment.name, experiment.fingerprint, arm))
            fields, *unit_bits = pipeline.execute()
        sums = {figure: [[0] * N_BUCKETS for _ in arms] for figure in FIGURES}
        counted = {name.decode(): value for name, value in fields.items()}
        for name, value in counted.items():
            if name.count(":") == 2:
                arm, bucket, figure = name.split(":")
                sums[figure][int(arm)][int(bucket)] = int(value)
        started = counted.get("started")
        failed = tuple(int(counted.get(f"{arm}:failed", 0)) for arm in arms)
        without_unit = int(counted.get("no_unit", 0))
        return Tally(started and float(started), without_unit, tuple(unit_bits), failed, sums)

    def forget(self, experiment: Experiment) -> None:
        """Begin anew; clicks on what was shown before count no more.

        Raises:
            RedisError: it can't be.
        """
        units = [
            units_key(experiment.name, experiment.fingerprint, arm) for arm in range(len(experiment.arms))
        ]
        self._redis.unlink(_key(experiment), *units)

    def _begin(self, pipeline: Any, key: str, now: float) -> None:
        pipeline.hsetnx(key, "started", now)
        pipeline.expire(key, _LIFE_S)

    def _count(self, experiment: Experiment, fields: Mapping[str, int]) -> None:
        key = _key(experiment)
        with self._redis.pipeline(transaction=False) as pipeline:
            self._begin(pipeline, key, time.time())
            for name, by in fields.items():
                pipeline.hincrby(key, name, by)
            pipeline.execute()

    def _find_cases(self, events: Sequence[Event], experiments: Sequence[Experiment]) -> list[_Case | str]:
        """What each event is about, or why it is about nothing."""
        known = {f"{one.name}:{one.fingerprint}": one for one in experiments}
        asked = list({event.query_id for event in events})
        with self._redis.pipeline(transaction=False) as pipeline:
            for experiment in known.values():
                pipeline.hget(_key(experiment), "started")
            for query_id in asked:
                pipeline.hmget(shown_key(query_id), "experiment", "at", "place", "objects", "teams")
                pipeline.hlen(done_key(query_id))
            told = pipeline.execute()
        started = dict(zip(known, told, strict=False))
        answers = told[len(known) :]
        shown = {}
        for query_id, (name, at, *fields), n_done in zip(asked, answers[::2], answers[1::2], strict=True):
            began = started.get((name or b"").decode())
            if began is not None and float(began) <= float(at):
                shown[query_id] = known[name.decode()], _Shown.read(*fields), n_done
        return [
            _judge(event, *shown[event.query_id]) if event.query_id in shown else "unknown_query"
            for event in events
        ]

    def _mark(self, cases: Sequence[_Case]) -> list[bool]:
        """Note that it was done; was it not before?"""
        with self._redis.pipeline(transaction=False) as pipeline:
            for case in cases:
                key = done_key(case.event.query_id)
                mark = f"{case.event.action}\0{_NOBODY if case.rank is None else case.rank}"
                pipeline.hsetnx(key, _digest(mark), 1)
                pipeline.expire(key, self._life_s)
            return [bool(is_new) for is_new in pipeline.execute()[::2]]

    def _credit_clicks(self, cases: Sequence[_Case]) -> None:
        if not cases:
            return
        with self._redis.pipeline(
            transaction=True
        ) as pipeline:  # so that what two teams have is one moment's
            for case in cases:
                key = done_key(case.event.query_id)
                pipeline.hsetnx(key, "clicked", "1")
                pipeline.hincrby(key, f"team{case.team}")
                pipeline.hmget(key, "team0", "team1")
            told = pipeline.execute()
        counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for case, is_first, teams in zip(cases, told[::3], told[2::3], strict=True):
            for figure, by in _count_click(case, bool(is_first), teams):
                counts[_key(case.experiment)][f"{case.shown.place}:{figure}"] += by
        with self._redis.pipeline(transaction=False) as pipeline:
            for key, count in counts.items():
                for name, by in count.items():
                    pipeline.hincrby(key, name, by)
            pipeline.execute()


@dataclass(frozen=True)
class _Shown:
    """What one answer showed.

    Attributes:
        place: the arm and the part of the units that it counts for.
        teams: a letter an object; none where one arm picked all.
    """

    place: str
    objects: tuple[bytes, ...]
    teams: str

    @classmethod
    def read(cls, place: bytes, objects: bytes, teams: bytes) -> _Shown:
        cut = tuple(objects[at : at + _DIGEST_BYTES] for at in range(0, len(objects), _DIGEST_BYTES))
        return cls(place.decode(), cut, teams.decode())


@dataclass(frozen=True)
class _Case:
    """An event and what it is about.

    Attributes:
        rank: of the object, from 0; None where it has none, or one that was not shown.
    """

    event: Event
    experiment: Experiment
    shown: _Shown
    rank: int | None

    @property
    def is_click(self) -> bool:
        return self.event.action in self.experiment.actions

    @property
    def team(self) -> str:
        """The number of the arm that picked it; a dash where none did."""
        return (self.rank is not None and self.shown.teams[self.rank : self.rank + 1]) or _NOBODY


def _judge(event: Event, experiment: Experiment, shown: _Shown, n_done: int) -> _Case | str:
    ranks = (
        shown.objects.index(digest) for name in event.objects if (digest := _digest(name)) in shown.objects
    )
    case = _Case(event, experiment, shown, next(ranks, None))
    if n_done > _MOST_ACTIONS:
        return "too_many"
    return "unknown_object" if case.is_click and case.rank is None else case


def _count_click(case: _Case, is_first: bool, clicks: Sequence[bytes | None]) -> Iterator[tuple[str, int]]:
    """The figures that a click adds to.

    Args:
        clicks: of both teams on this answer, this one with them.
    """
    assert case.rank is not None  # or it is no click
    yield "clicks", 1
    yield "clicked", int(is_first)
    yield "reciprocal", round(MILLION / (case.rank + 1))
    if case.team == _NOBODY:
        return
    team = int(case.team)
    own, others = (int(clicks[one] or 0) for one in (team, 1 - team))
    yield f"team{team}", 1
    # a team wins an answer on which it has more clicks: this click may have ended a win, or begun one
    yield f"wins{1 - team}", -int(others == own)
    yield f"wins{team}", int(others == own - 1)


def _key(experiment: Experiment) -> str:
    return experiment_key(experiment.name, experiment.fingerprint)


def _bucket(trial: Trial) -> int:
    return trial.experiment.choose_part(trial.unit, N_BUCKETS)


def _field(arm: int, bucket: int, figure: str) -> str:
    return f"{arm}:{bucket}:{figure}"


def _digest(name: str) -> bytes:
    """Nothing of a document can be read from Redis."""
    return blake2b(name.encode("utf-8", "surrogateescape"), digest_size=_DIGEST_BYTES).digest()
