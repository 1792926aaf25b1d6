"""Speaks to cluster and gateway: loads the corpus with the engine's own client, searches as curl would."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass

import urllib3

from demo import settings
from demo.corpus import Document
from demo.errors import DemoError

TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Hit:
    id: str
    score: float


@dataclass(frozen=True)
class Page:
    """The hits of one search, best first."""

    hits: tuple[Hit, ...]
    rerank_status: str
    """The gateway's header; empty from the cluster itself."""


class Connection:
    """One address, a cluster's or a gateway's; the URL may carry credentials."""

    def __init__(self, url: str) -> None:
        parsed = urllib3.util.parse_url(url)
        self._headers = urllib3.make_headers(basic_auth=parsed.auth) if parsed.auth else {}
        self._base = parsed._replace(auth=None).url.rstrip("/")
        self._pool = urllib3.PoolManager(timeout=TIMEOUT_S, retries=False)

    def send(self, method: str, path: str, body: object = None) -> urllib3.BaseHTTPResponse:
        """The answer, whatever its status.

        Raises:
            urllib3.exceptions.HTTPError: nobody answers.
        """
        return self._pool.request(method, self._base + path, json=body, headers=self._headers)

    def search(self, text: str, size: int) -> Page:
        """The first hits for what a person typed.

        Raises:
            DemoError: the search was refused.
        """
        query = {"multi_match": {"query": text, "fields": list(settings.FIELDS)}}
        answer = self.send("POST", f"/{settings.INDEX}/_search", {"query": query, "size": size})
        if answer.status != 200:
            raise DemoError(
                f"the search for {text!r} was answered {answer.status}: {answer.data.decode()[:300]}"
            )
        hits = tuple(Hit(hit["_id"], hit["_score"]) for hit in answer.json()["hits"]["hits"])
        return Page(hits, answer.headers.get("x-rerank-status", ""))


def load(connection: Connection, url: str, corpus: Sequence[Document]) -> Iterator[None]:
    """Put the corpus into the index, one step a document; no step when an earlier run has done it.

    Args:
        url: where `connection` leads, for the engine's own client.

    Raises:
        DemoError: a request was refused, or the index is somebody else's.
    """
    label = {"made_by": "rerank-sidecar demo", "corpus": make_fingerprint(corpus)}
    found = find_label(connection)
    if found == label:
        return
    if found is not None and found.get("made_by") != label["made_by"]:
        raise DemoError(f"the cluster has an index {settings.INDEX} that is not the demo's; it is left alone")
    expect(connection.send("DELETE", f"/{settings.INDEX}"), 200, 404)
    text = {"type": "text", "analyzer": choose_analyzer(connection)}
    properties = {"title": text, "body": text, "kind": {"type": "keyword"}, "module": {"type": "keyword"}}
    index = {
        "settings": {"number_of_shards": 1, "number_of_replicas": 0},
        "mappings": {"properties": properties, "_meta": {"made_by": label["made_by"]}},
    }
    expect(connection.send("PUT", f"/{settings.INDEX}", index), 200)
    yield from bulk(connection, url, corpus)
    expect(connection.send("POST", f"/{settings.INDEX}/_refresh"), 200)
    # told last, so that a load that was broken off is not taken for a whole one
    expect(connection.send("PUT", f"/{settings.INDEX}/_mapping", {"_meta": label}), 200)


def choose_analyzer(connection: Connection) -> str:
    """The English one, where the engine has it: the bare Elasticsearch of the demo has not."""
    answer = connection.send("POST", "/_analyze", {"analyzer": "english", "text": "text"})
    return "english" if answer.status == 200 else "standard"


def bulk(connection: Connection, url: str, corpus: Iterable[Document]) -> Iterator[None]:
    """Load through the official client of the engine that answers."""
    actions = map(make_action, corpus)
    if "x-elastic-product" in connection.send("GET", "/_cluster/health").headers:
        import elasticsearch.helpers

        with elasticsearch.Elasticsearch(url, request_timeout=TIMEOUT_S) as elastic_client:
            yield from (None for _ in elasticsearch.helpers.streaming_bulk(elastic_client, actions))
    else:
        import opensearchpy.helpers

        with opensearchpy.OpenSearch(url, timeout=TIMEOUT_S) as client:
            yield from (None for _ in opensearchpy.helpers.streaming_bulk(client, actions))


def make_action(document: Document) -> dict[str, object]:
    return {
        "_index": settings.INDEX,
        "_id": document.id,
        **{name: getattr(document, name) for name in ("title", "body", "kind", "module")},
    }


def make_fingerprint(corpus: Iterable[Document]) -> str:
    digest = hashlib.sha256()
    for document in corpus:
        digest.update(json.dumps(asdict(document)).encode())
    return digest.hexdigest()


def find_label(connection: Connection) -> dict[str, str] | None:
    """Who made the index and, once it was loaded to its end, from which corpus; nothing without an index."""
    answer = connection.send("GET", f"/{settings.INDEX}/_mapping")
    if answer.status == 404:
        return None
    expect(answer, 200)
    (index,) = answer.json().values()
    label: dict[str, str] = index["mappings"].get("_meta", {})
    return label


def expect(answer: urllib3.BaseHTTPResponse, *statuses: int) -> None:
    if answer.status not in statuses:
        raise DemoError(
            f"{answer.url} was answered {answer.status}: {answer.data.decode('utf-8', 'replace')[:300]}"
        )
