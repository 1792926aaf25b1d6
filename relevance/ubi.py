"""Reads logs of User Behavior Insights (UBI 1.x): which documents were shown to whom, where, and clicked.

Knows `ubi_queries` and `ubi_events` as JSON lines: documents as they are, or hits with ``_source``.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from relevance.errors import BadFile
from relevance.files import FilePath, read_objects
from relevance.split import normalise_query

CLICKS = ("click",)
IMPRESSION = "impression"
PAGE_SIZE = 10


@dataclass
class View:
    """One document, shown to one person for one query.

    Attributes:
        query: the words of its text, see `normalise_query`.
        position: where it stood, in the log's own counting.
    """

    query: str
    document: str
    position: int
    is_clicked: bool


@dataclass
class ClickLog:
    """What a log tells.

    Attributes:
        views: of each person, query and document one, however often it was shown or clicked.
        texts: by a query's words the spelling that is most frequent.
        left_out: events that tell nothing, by the reason.
    """

    views: list[View] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class _Query:
    text: str
    client: str
    hits: tuple[str, ...]


def read_log(
    events: FilePath,
    queries: FilePath | None = None,
    *,
    clicks: Collection[str] = CLICKS,
    page_size: int = PAGE_SIZE,
) -> ClickLog:
    """Read a log.

    Where a document stood is told by ``query_response_hit_ids``, from 1, else by the event's
    ``position.ordinal``. A query without impressions in the log has shown the first ``page_size`` hits of its
    answer. A click counts as shown.

    Args:
        queries: the queries' own file; without it each event needs ``user_query``.
        clicks: names of actions that say yes.

    Raises:
        BadFile: a line is no JSON object, or the log tells nothing.
    """
    known = dict(_read_queries(queries)) if queries is not None else {}
    reader = _Reader(known, frozenset(name.casefold() for name in clicks), page_size)
    for _, event in read_objects(events):
        if fields := _unwrap(event):
            reader.add(fields)
    reader.add_unseen()
    log = reader.finish()
    if not any(view.is_clicked for view in log.views):
        told = ", ".join(f"{count} {reason}" for reason, count in log.left_out.most_common()) or "no events"
        raise BadFile(f"{events}: no click that can be told from it ({told})")
    return log


def _read_queries(path: FilePath) -> Iterator[tuple[str, _Query]]:
    for _, line in read_objects(path):
        fields = _unwrap(line) or {}
        id, text, hits = (
            fields.get("query_id"),
            fields.get("user_query"),
            fields.get("query_response_hit_ids"),
        )
        if isinstance(id, str) and isinstance(text, str) and text.strip():
            shown = tuple(map(str, hits)) if isinstance(hits, list) else ()
            yield id, _Query(text.strip(), _read_client(fields), shown)


class _Reader:
    def __init__(self, queries: Mapping[str, _Query], clicks: frozenset[str], page_size: int) -> None:
        self._queries = queries
        self._clicks = clicks
        self._page_size = page_size
        self._views: dict[tuple[str, str, str], View] = {}
        self._spellings: dict[str, Counter[str]] = {}
        self._has_impressions: set[str] = set()
        self._left_out: Counter[str] = Counter()

    def add(self, event: Mapping[str, Any]) -> None:
        """Note what an event tells, or why it tells nothing."""
        action = str(event.get("action_name", "")).casefold()
        if action != IMPRESSION and action not in self._clicks:
            self._left_out["other actions"] += 1
            return
        id = str(event.get("query_id") or "")
        query = self._queries.get(id) or _read_own_query(event)
        document = _dig(event, "event_attributes", "object", "object_id")
        if query is None:
            self._left_out["without a known query"] += 1
        elif document is None:
            self._left_out["without an object_id"] += 1
        else:
            self._place(event, id, query, str(document), action)

    def _place(self, event: Mapping[str, Any], id: str, query: _Query, document: str, action: str) -> None:
        if document in query.hits:
            position = query.hits.index(document) + 1
        else:
            ordinal = _dig(event, "event_attributes", "position", "ordinal")
            if not isinstance(ordinal, int) or isinstance(ordinal, bool) or ordinal < 0:
                self._left_out["without a position"] += 1
                return
            position = ordinal
        if action == IMPRESSION:
            self._has_impressions.add(id)
        self._note(query, query.client or _read_client(event) or id, document, position, action != IMPRESSION)

    def add_unseen(self) -> None:
        """The first page of the queries whose impressions were not logged."""
        for id, query in self._queries.items():
            if id not in self._has_impressions:
                for position, document in enumerate(query.hits[: self._page_size], start=1):
                    self._note(query, query.client or id, document, position, False)

    def _note(self, query: _Query, person: str, document: str, position: int, is_clicked: bool) -> None:
        words = normalise_query(query.text)
        self._spellings.setdefault(words, Counter())[query.text] += 1
        view = self._views.setdefault((person, words, document), View(words, document, position, False))
        view.is_clicked |= is_clicked

    def finish(self) -> ClickLog:
        """All of it."""
        texts = {words: spellings.most_common(1)[0][0] for words, spellings in self._spellings.items()}
        return ClickLog(list(self._views.values()), texts, self._left_out)


def _unwrap(line: dict[str, Any]) -> dict[str, Any] | None:
    """The document of a line: itself, or a hit's source; None for a line of action of a bulk request."""
    if isinstance(line.get("_source"), dict):
        source: dict[str, Any] = line["_source"]
        return source
    return None if len(line) == 1 and {"index", "create"} & set(line) else line


def _read_own_query(event: Mapping[str, Any]) -> _Query | None:
    text = event.get("user_query")
    if isinstance(text, str) and text.strip():
        return _Query(text.strip(), _read_client(event), ())
    return None


def _read_client(fields: Mapping[str, Any]) -> str:
    return str(fields.get("client_id") or "")


def _dig(fields: Mapping[str, Any], *names: str) -> Any:
    value: Any = fields
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value
