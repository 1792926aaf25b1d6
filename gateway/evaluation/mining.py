"""Knows how hard negatives are found: a cluster's own hits, read as policies read them, and a teacher."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from gateway.cluster import Cluster
from gateway.errors import GatewayError
from gateway.evaluation.template import Template
from gateway.jobs.asking import tell_error
from relevance.judgments import JudgedQuery
from relevance.negatives import NegativeRules, make_row
from relevance.rows import TrainingRow
from search_plugin import FirstStage, Hit, Policy, UnreadableAnswer, make_scan_plan, read_texts

Teacher = Callable[[str, Sequence[str]], Sequence[float]]
"""One logit a passage for a query's text."""


class CannotMine(GatewayError):
    """The cluster refuses a search, or the teacher fails (the message says why)."""


@dataclass(frozen=True)
class Miner:
    """Makes training rows of judged queries.

    Attributes:
        policy: says what is read of a hit.
        teacher: leaves out what it finds relevant, and scores the row; None for none.
    """

    cluster: Cluster
    index: str
    policy: Policy
    template: Template
    rules: NegativeRules
    teacher: Teacher | None = None

    def mine(self, query: JudgedQuery) -> TrainingRow | None:
        """A query's row; None where no relevant document or no negative is found.

        Raises:
            CannotMine: the cluster refuses the search, or the teacher fails.
            ClusterUnreachable: it is not there.
        """
        hits = self._search(self.template.fill(query.text, self.rules.last))
        ranking = [_tell_id(hit) for hit in hits]
        candidates = self.rules.find_candidates(ranking, query)
        relevant = query.find_relevant()
        missing = [document for document in relevant if document not in ranking]
        wanted = {*candidates, *relevant}
        read = [hit for hit in hits if _tell_id(hit) in wanted] + self._fetch(missing)
        texts = self._read_texts(query.text, read)
        if not texts:
            return None
        if self.teacher is None:
            return make_row(query, candidates, {id: one[0] for id, one in texts.items()}, self.rules)
        passages, scores = self._score(query.text, texts, self.teacher)
        return make_row(query, candidates, passages, self.rules, scores)

    def _fetch(self, documents: Sequence[str]) -> list[Hit]:
        """Documents by their ids; those that the index does not have are missing."""
        if not documents:
            return []
        return self._search({"query": {"ids": {"values": [*documents]}}, "size": len(documents)})

    def _search(self, body: Mapping[str, Any]) -> list[Hit]:
        fields = [*self.policy.fields]
        if fields and "fields" in self.policy.passage_sources:
            body = {**body, "fields": [*body.get("fields", ()), *fields]}
        content = json.dumps(body).encode()
        headers = [(b"Content-Type", b"application/json"), (b"Content-Length", b"%d" % len(content))]
        target = f"/{quote(self.index, safe=',*')}/_search"
        answer = self.cluster.send("POST", target, headers, content, is_read=True)
        text = answer.read()
        if answer.status != 200:
            raise CannotMine(f"the cluster answered {tell_error(answer.status, _read_json(text))}")
        try:
            return [*FirstStage.parse(text).hits]
        except UnreadableAnswer as error:
            raise CannotMine(f"the cluster's answer can't be read: {error}") from error

    def _read_texts(self, query_text: str, hits: Sequence[Hit]) -> dict[str, list[str]]:
        """By document what is to be read of it: one text, or its chunks; blank ones are left out."""
        passages = read_texts(make_scan_plan(self.policy, query_text), hits)
        split = zip(hits, passages.split(passages.texts), strict=True)
        found = {_tell_id(hit): [text for text in texts if text.strip()] for hit, texts in split}
        return {id: texts for id, texts in found.items() if texts}

    def _score(
        self, query_text: str, texts: Mapping[str, Sequence[str]], teacher: Teacher
    ) -> tuple[dict[str, str], dict[str, float]]:
        """By document its best passage, and that one's score."""
        pairs = [(id, text) for id, of_document in texts.items() for text in of_document]
        passages: dict[str, str] = {}
        scores: dict[str, float] = {}
        for (id, text), score in zip(pairs, teacher(query_text, [text for _, text in pairs]), strict=True):
            if id not in scores or score > scores[id]:
                passages[id], scores[id] = text, score
        return passages, scores


def _tell_id(hit: Hit) -> str:
    return str(hit.value("_id"))


def _read_json(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text.decode("utf-8", "replace")
