"""Knows how a search is compared with itself: the cluster's order beside the reranked one, and why.

The search goes the way of every search: the same plan, scores and merge. Only the page is wider, since each
scored hit is shown, and nothing is counted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any
from urllib.parse import quote

from gateway.coding import UnreadableCodingError, decode
from gateway.errors import GatewayError
from gateway.forms import Plain
from gateway.hangup import ANYBODY, Client
from gateway.policies import FixedPolicies
from gateway.search import PERHAPS_OURS, SingleSearch
from gateway.settings import Config
from gateway.story import Story, reason_of, status_of
from gateway.tools import SearchTools
from gateway.wire import ClientRequest, Header
from search_plugin import (
    BadAsk,
    FirstStage,
    Hit,
    Passages,
    Plan,
    Reason,
    Rewrite,
    Skip,
    UnreadableAnswer,
    find_policy,
    match_route,
    read_indices,
    read_passages,
    strip_target,
)

SIZES = (10, 20, 50)
"""How many hits may be shown on each side."""

MARKS = ("\ue000", "\ue001")
"""What stands around highlighted words in answers to plain queries: no markup, and hardly in any text."""

_TITLE_CHARS = 120


class Unanswered(GatewayError):
    """There is nothing to compare.

    Attributes:
        status: of the answer that says so.
        challenge: the cluster's ``WWW-Authenticate``, if it wants to know who asks.
    """

    def __init__(self, message: str, *, status: int = 400, challenge: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.challenge = challenge


@dataclass(frozen=True)
class Choices:
    """What is compared; the address of the page says it all.

    Attributes:
        query: what a person typed.
        policy: the name of one, asked for whatever it covers; empty for the one in force.
        body: a whole search in JSON, instead of ``query``.
        size: hits shown on each side.
    """

    query: str = ""
    index: str = ""
    policy: str = ""
    body: str = ""
    size: int = SIZES[0]

    @classmethod
    def read(cls, parameters: Mapping[str, str]) -> Choices:
        """Read the page's parameters; a size that is not offered counts as none."""
        size = parameters.get("size", "")
        texts = {name: parameters.get(name, "").strip() for name in ("query", "index", "policy", "body")}
        return cls(**texts, size=int(size) if size in map(str, SIZES) else SIZES[0])

    def __bool__(self) -> bool:
        return bool(self.query or self.body)


@dataclass(frozen=True)
class ComparedHit:
    """One hit on both sides.

    Attributes:
        rank_before, score_before: by the cluster.
        rank_after, score_after: as the client sees it; None where there is no new order, or it is left out.
        model_score: what the model said; None if it has not read it.
        model_rank: of all that it has read.
        passages: what was to be read of it.
        fragments: of its highlights, each with its highlighted words as odd pieces.
    """

    index: str
    id: str
    rank_before: int
    score_before: float | None
    rank_after: int | None = None
    score_after: float | None = None
    model_score: float | None = None
    model_rank: int | None = None
    passages: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    fragments: tuple[tuple[str, ...], ...] = ()

    @property
    def title(self) -> str:
        """One line to know it by."""
        lines = (line.strip() for text in (*self.passages, *self.texts) for line in text.splitlines())
        return next(filter(None, lines), self.id)[:_TITLE_CHARS]

    @property
    def gained(self) -> int:
        """Places gained; negative for those lost."""
        return self.rank_before - self.rank_after if self.rank_after is not None else 0


@dataclass(frozen=True)
class Comparison:
    """What became of one search.

    Attributes:
        status: applied, skipped, shadow or failed.
        plan: None where the search was not even planned.
        hits: all that the cluster sent, in its order.
        size: how many of them are shown on each side.
        covers: the policy is the one that clients get there.
    """

    status: str
    reason: Reason | None
    plan: Plan | None
    hits: Sequence[ComparedHit]
    size: int
    story: Story
    took_ms: float
    covers: bool = True

    @property
    def is_applied(self) -> bool:
        """Is there a new order?"""
        return self.status == "applied"

    @cached_property
    def before(self) -> Sequence[ComparedHit]:
        """The first hits in the cluster's order."""
        return self.hits[: self.size]

    @cached_property
    def after(self) -> Sequence[ComparedHit]:
        """The first hits in the new order; empty where there is none."""
        return _by_rank_after(self.hits)[: self.size]

    @cached_property
    def shown(self) -> Sequence[ComparedHit]:
        """All that stand on either side, each once, in the order that counts."""
        known = {hit.rank_before for hit in self.after}
        return [*self.after, *(hit for hit in self.before if hit.rank_before not in known)]

    @property
    def n_scored(self) -> int:
        """How many hits the model has read."""
        return sum(hit.model_score is not None for hit in self.hits)

    @property
    def n_moved(self) -> int:
        """How many of the new order's first hits stood elsewhere."""
        return sum(hit.gained != 0 for hit in self.after)

    def tell_place(self, hit: ComparedHit) -> str:
        """Why the hit stands where it stands, in a sentence."""
        if not self.is_applied or self.plan is None:
            return "It keeps the cluster's place."
        policy = self.plan.policy
        if hit.rank_after is None:
            return f"Left out: what it reaches is below the policy's min_score of {policy.min_score:g}."
        if hit.model_score is None:
            return f"The model has not read it: it lies behind the window of {policy.window} hits."
        told = f"The model has it at {hit.model_rank} of {self.n_scored} (score {hit.model_score:.4f}), "
        told += f"the cluster at {hit.rank_before} (score {hit.score_before:.4g})."
        return f"{told} {_BLENDS[policy.score_mode].format(policy=policy)}".strip()


_BLENDS = {
    "replace": "",
    "linear": "The policy mixes both scores: the model's counts {policy.weight:g} of 1.",
    "rrf": "The policy adds up what both ranks are worth (reciprocal rank fusion).",
}


@dataclass(frozen=True)
class Comparer:
    """Compares searches by the parts that answer them."""

    tools: SearchTools

    def compare(
        self, choices: Choices, credentials: Sequence[Header] = (), client: Client = ANYBODY
    ) -> Comparison:
        """Run the search once and tell both orders.

        Args:
            credentials: headers that tell the cluster who asks.

        Raises:
            Unanswered: the choices are wrong, or the cluster has refused the search.
            ClusterUnreachable, RefusedRequest, ClientGone: as `proxy.forward`.
        """
        request = self.write(choices)
        route = match_route(request.method, request.target)
        if route is None:
            raise Unanswered(f"index: {choices.index!r} cannot be searched")
        tools = self._choose_policy(choices.policy)
        asked = replace(request, headers=[*request.headers, *credentials], client=client)
        story = Story(client=client)
        try:
            plan = tools.guard(lambda: SingleSearch(tools, Plain()).plan(asked, route.indices, story))
            status, reason, hits = _run(tools, asked, plan, story, _read_tags(choices))
        except BadAsk as error:
            raise Unanswered(str(error)) from error
        except (UnreadableAnswer, UnreadableCodingError) as error:
            raise Unanswered(f"the cluster's answer cannot be read: {error}", status=502) from error
        return Comparison(
            status=status,
            reason=reason,
            plan=None if isinstance(plan, Skip) else plan,
            hits=hits,
            size=choices.size,
            story=story,
            took_ms=story.passed_ms(),
            covers=self._covers(choices.policy, route.indices),
        )

    def write(self, choices: Choices) -> ClientRequest:
        """The search as a client sends it.

        Raises:
            Unanswered: ``body`` is no JSON object, or the policy does not exist.
        """
        target = f"/{quote(choices.index, safe=',*')}/_search" if choices.index else "/_search"
        text = choices.body or json.dumps(self._write_body(choices), ensure_ascii=False, indent=2)
        _check_json(text)
        for mark in MARKS:
            text = text.replace(mark, f"\\u{ord(mark):04x}")  # to be seen
        body = text.encode()
        headers = [(b"Content-Type", b"application/json"), (b"Content-Length", b"%d" % len(body))]
        if choices.policy:
            headers.append((b"X-Rerank", b"on"))
        return ClientRequest("POST", target, headers, body)

    def _write_body(self, choices: Choices) -> dict[str, Any]:
        """A plain query, over the fields that the model is going to read."""
        policies = self._choose_policy(choices.policy).policies.current().policies
        policy = find_policy(tuple(read_indices(choices.index)), policies)
        fields = list(policy.fields) if policy else []
        multi_match = {"query": choices.query, **({"fields": fields, "lenient": True} if fields else {})}
        before, behind = MARKS
        return {
            "query": {"multi_match": multi_match},
            "size": choices.size,
            "highlight": {
                "pre_tags": [before],
                "post_tags": [behind],
                "number_of_fragments": 2,
                "fields": {name: {} for name in fields or ("*",)},
            },
        }

    def _choose_policy(self, name: str) -> SearchTools:
        """The tools, with one policy for all indices where one is named."""
        if not name:
            return self.tools
        config = self.tools.policies.current()
        chosen = next((policy for policy in config.policies if policy.name == name), None)
        if chosen is None:
            raise Unanswered(f"policy: there is no {name!r}")
        everywhere = chosen.model_copy(update={"indices": ("*",)})
        return replace(self.tools, policies=FixedPolicies(Config((everywhere,), config.models)))

    def _covers(self, policy: str, indices: Sequence[str]) -> bool:
        """Is it the policy that clients get for these indices?"""
        in_force = find_policy(indices, self.tools.policies.current().policies)
        return not policy or (in_force is not None and in_force.name == policy)


_Ran = tuple[str, Reason | None, Sequence[ComparedHit]]


def _run(
    tools: SearchTools, request: ClientRequest, plan: Plan | Skip, story: Story, tags: tuple[str, str]
) -> _Ran:
    """Status, reason and hits, in the cluster's order."""
    if isinstance(plan, Skip):
        first_stage = _ask(tools, request, plan.stripped or Rewrite(strip_target(request.target)), story)
        return status_of(plan), plan.reason, [*_read_hits(first_stage, None, tags)]
    try:
        first_stage = _ask(tools, request, plan.enlarged, story)
    except Unanswered as refused:
        if refused.status not in PERHAPS_OURS:
            raise
        return _run(tools, request, Skip(Reason.CLUSTER_REFUSED, plan.stripped), story, tags)
    n_hits = len(first_stage.hits)
    whole = replace(plan, page_from=0, page_size=n_hits, is_asked=True, tells_hits=True)
    hits = [*_read_hits(first_stage, whole, tags)]
    (page,) = tools.rescorer.rescore([(whole, first_stage)], story)
    if page.outcome is None:
        hits = _place(hits, json.loads(page.text))
    return status_of(page.outcome), reason_of(page.outcome), hits


def _ask(tools: SearchTools, request: ClientRequest, rewrite: Rewrite, story: Story) -> FirstStage:
    with story.measure("cluster"):
        answer = tools.send(request, rewrite)
        content = decode(answer.read(), answer.header(b"content-encoding"))
    if answer.status != 200:
        challenge = (answer.header(b"www-authenticate") or b"").decode("latin-1")
        message = f"the cluster answered {answer.status}: {_read_refusal(content)}"
        raise Unanswered(message, status=answer.status, challenge=challenge)
    return FirstStage.parse(content)


def _read_refusal(content: bytes) -> str:
    """The engines' own words, with the deepest cause, which names the place."""
    try:
        error = json.loads(content)["error"]
        causes = [error, *error.get("root_cause", ())]
        while isinstance(causes[-1].get("caused_by"), dict):
            causes.append(causes[-1]["caused_by"])
        told = [f"{cause['type']}: {cause['reason']}" for cause in causes]
        return "; ".join(dict.fromkeys(told))
    except (ValueError, KeyError, TypeError, AttributeError):
        return content.decode("utf-8", "replace")[:1000]


def _read_hits(first_stage: FirstStage, plan: Plan | None, tags: tuple[str, str]) -> Iterator[ComparedHit]:
    found = read_passages(plan, first_stage) if plan else None
    passages = [*found.split(found.texts)] if isinstance(found, Passages) else []
    for place, hit in enumerate(first_stage.hits):
        yield ComparedHit(
            index=str(hit.value("_index")),
            id=str(hit.value("_id")),
            rank_before=place + 1,
            score_before=hit.first_stage_score,
            passages=tuple(passages[place]) if place < len(passages) else (),
            texts=tuple(_read_texts(hit)),
            fragments=tuple(_read_fragments(hit, tags)),
        )


def _read_texts(hit: Hit) -> Iterator[str]:
    source = hit.source if isinstance(hit.source, dict) else {}
    return (value for value in source.values() if isinstance(value, str))


def _read_fragments(hit: Hit, tags: tuple[str, str]) -> Iterator[tuple[str, ...]]:
    found = hit.value("highlight")
    for fragments in found.values() if isinstance(found, dict) else ():
        for fragment in fragments if isinstance(fragments, list) else ():
            plain, *marked = str(fragment).split(tags[0])
            pieces = (piece for part in marked for piece in _cut_once(part, tags[1]))
            yield (plain, *pieces)


def _cut_once(part: str, tag: str) -> tuple[str, str]:
    word, _, rest = part.partition(tag)
    return word, rest


def _read_tags(choices: Choices) -> tuple[str, str]:
    """What the cluster puts around highlighted words."""
    if not choices.body:
        return MARKS
    highlight = json.loads(choices.body).get("highlight")
    told = highlight if isinstance(highlight, dict) else {}
    before, behind = (
        tags[0] if isinstance(tags, list) and tags and isinstance(tags[0], str) and tags[0] else usual
        for tags, usual in ((told.get("pre_tags"), "<em>"), (told.get("post_tags"), "</em>"))
    )
    return before, behind


def _place(hits: Sequence[ComparedHit], answer: dict[str, Any]) -> list[ComparedHit]:
    """Put in what the answer tells of its hits."""
    told = answer["ext"]["rerank"]["hits"]
    by_model = sorted(
        (hit for hit in told if hit["rerank_score"] is not None), key=lambda hit: -hit["rerank_score"]
    )
    model_ranks = {hit["previous_rank"]: rank for rank, hit in enumerate(by_model, start=1)}
    placed = list(hits)
    for rank, (hit, one) in enumerate(zip(answer["hits"]["hits"], told, strict=True), start=1):
        before = one["previous_rank"]
        placed[before - 1] = replace(
            hits[before - 1],
            rank_after=rank,
            score_after=hit["_score"],
            model_score=one["rerank_score"],
            model_rank=model_ranks.get(before),
        )
    return placed


def _by_rank_after(hits: Sequence[ComparedHit]) -> list[ComparedHit]:
    placed = [(hit.rank_after, hit) for hit in hits if hit.rank_after is not None]
    return [hit for _, hit in sorted(placed, key=lambda one: one[0])]


def _check_json(text: str) -> None:
    try:
        body = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Unanswered(f"search body: not JSON: {error}") from error
    if not isinstance(body, dict):
        raise Unanswered(f"search body: expected a JSON object, found {type(body).__name__}")
