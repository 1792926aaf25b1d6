"""Jobs that read the cluster: queries and scans, on real engines."""

from __future__ import annotations

import json
from itertools import count

import pytest
import urllib3

from rerankers import FlagAutoReranker
from tests.conftest import wait_until
from tests.jobs.conftest import to_lines

pytestmark = pytest.mark.system

N_DOCUMENTS = 60
WORDS = ["how", "to", "delete", "a", "folder", "and", "all", "its", "files", "sort", "list", "by", "key"]
numbers = count()


@pytest.fixture(scope="session")
def cluster(searching):
    """Asks the engine behind the gateway, by way of the gateway."""

    def ask(method, path, body=None, **headers):
        content = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        kind = "application/x-ndjson" if isinstance(body, bytes) else "application/json"
        base = searching.url
        answer = urllib3.request(
            method,
            base + path,
            body=content,
            headers={"Content-Type": kind, **headers},
            retries=False,
            timeout=60.0,
        )
        return answer.status, answer.json() if answer.data else None

    return ask


@pytest.fixture
def index(cluster):
    """A new index of documents with the model's words."""
    name = f"pages-{next(numbers)}"
    load(cluster, name)
    yield name
    cluster("DELETE", f"/{name}")


def load(cluster, name):
    lines = []
    for number in range(N_DOCUMENTS):
        words = [WORDS[(number * step) % len(WORDS)] for step in range(1, 6)]
        lines += [
            {"index": {"_index": name, "_id": f"d{number}"}},
            {"title": f"{words[0]} {words[1]}", "body": " ".join(words[2:])},
        ]
    status, told = cluster("POST", "/_bulk?refresh=true", to_lines(*lines))
    assert status == 200
    assert not told["errors"]


@pytest.fixture(scope="module")
def score(reranker_folder):
    reranker = FlagAutoReranker.from_finetuned(str(reranker_folder), max_length=64, devices="cpu")
    return lambda query, *passages: reranker.compute_score([(query, passage) for passage in passages])


def read_all(cluster, index):
    cluster("POST", f"/{index}/_refresh")
    return cluster("POST", f"/{index}/_search", {"size": 1000}, **{"X-Rerank": "off"})[1]["hits"]["hits"]


def test_queries_find_what_a_client_would(searching, cluster, index):
    body = {"query": {"multi_match": {"query": "sort list", "fields": ["title", "body"]}}}
    lines = to_lines(
        b"sort list",
        b"t7\tdelete folder",
        {"id": "json", "query": "parse text"},
        {"id": "body", "body": body},
        {"id": "clause", "query": body["query"]},
    )
    job_id = searching.create({"kind": "queries", "index": index, "top_k": 10}, lines)
    job = searching.wait_for(job_id)
    assert (job["state"], job["items"]["done"]) == ("done", 5), searching.rows(job_id, "failures")
    rows = {row["id"]: row for row in searching.rows(job_id)}
    assert list(rows) == ["1", "t7", "json", "body", "clause"]
    _, online = cluster("POST", f"/{index}/_search", body | {"size": 10}, **{"X-Rerank-Window": "10"})
    wanted = [hit["_id"] for hit in online["hits"]["hits"]]
    for name in ("1", "body", "clause"):
        assert [hit["_id"] for hit in rows[name]["hits"]] == wanted
        assert rows[name]["query"] == "sort list"
    hits = rows["body"]["hits"]
    assert [hit["rank"] for hit in hits] == list(range(1, 11))
    assert sorted(hit["previous_rank"] for hit in hits) == list(range(1, 11))
    assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)
    run = searching.download(job_id, form="trec").splitlines()
    assert run[30].split() == ["body", "Q0", wanted[0], "1", run[30].split()[4], "queries"]
    assert len(run) == 50


def test_queries_that_cannot_be_answered_fail_with_the_clusters_reason(searching, index):
    lines = to_lines(
        {"query": "sort", "index": "pages-nowhere"},
        {"query": {"match_all": {}}},
        {"query": {"nonsense": {}}},
        {"query": ""},
        {"query": 7},
        {"id": [], "query": "sort"},
        {"query": "sort", "index": "elsewhere"},
        {"query": "sort"},
    )
    job_id = searching.create({"kind": "queries", "index": index}, lines)
    job = searching.wait_for(job_id)
    assert (job["items"]["done"], job["items"]["failed"]) == (1, 7)
    reasons = [row["error"] for row in searching.rows(job_id, "failures")]
    for part, reason in zip(
        [
            "index_not_found",
            "no_query_text",
            "nonsense",
            "query: empty",
            "expected query",
            "id: ",
            "index: policy",
        ],
        reasons,
        strict=True,
    ):
        assert part in reason


def test_what_failed_is_done_once_the_cause_is_gone(searching, cluster):
    name = f"pages-late-{next(numbers)}"
    job_id = searching.create(
        {"kind": "queries", "index": name, "top_k": 5, "queries": ["sort list", "parse"]}
    )
    job = searching.wait_for(job_id)
    assert job["items"] == {"done": 0, "failed": 2, "total": 2, "left": 0}
    load(cluster, name)
    assert searching.ask("POST", f"/{job_id}/retry")[0] == 202
    searching.wait_until_round(job_id, 1)
    job = searching.wait_for(job_id)
    assert job["items"] == {"done": 2, "failed": 0, "total": 2, "left": 0}
    assert [row["query"] for row in searching.rows(job_id)] == ["sort list", "parse"]
    cluster("DELETE", f"/{name}")


def test_results_are_written_to_an_index_under_ids_that_stay(searching, cluster, index):
    """Two jobs with the same queries leave one document a hit."""
    destination = f"ranked-{next(numbers)}"
    spec = {"kind": "queries", "index": index, "top_k": 5, "destination": {"index": destination}}
    for _ in range(2):
        job_id = searching.create({**spec, "queries": [{"id": "a", "query": "sort list"}, "delete folder"]})
        assert searching.wait_for(job_id)["items"]["done"] == 2, searching.rows(job_id, "failures")
    found = [hit["_source"] for hit in read_all(cluster, destination)]
    assert len(found) == 10
    assert {document["job"] for document in found} == {job_id}
    first = next(document for document in found if (document["query_id"], document["rank"]) == ("a", 1))
    row = searching.rows(job_id)[0]
    assert (first["doc_id"], first["score"]) == (row["hits"][0]["_id"], row["hits"][0]["score"])
    cluster("DELETE", f"/{destination}")


def test_a_scan_scores_every_document_once(searching, cluster, index, score):
    spec = {"kind": "scan", "index": index, "query_text": "sort list", "page_size": 7, "scores": "logit"}
    job_id = searching.create(spec)
    job = searching.wait_for(job_id)
    assert (job["state"], job["items"]["done"], job["items"]["total"]) == ("done", 60, 60)
    scores = {row["_id"]: row["score"] for row in searching.rows(job_id)}
    texts = {hit["_id"]: "{title}\n{body}".format(**hit["_source"]) for hit in read_all(cluster, index)}
    assert scores.keys() == texts.keys()
    for id_, logit in zip(texts, score("sort list", *texts.values()), strict=True):
        assert scores[id_] == pytest.approx(logit, abs=1e-5)


def test_a_scan_writes_scores_into_the_documents(searching, cluster, index):
    cluster("PUT", f"/{index}/_doc/blank?refresh=true", {"title": " ", "body": ""})
    spec = {
        "kind": "scan",
        "index": index,
        "query_text": "parse",
        "query": {"terms": {"_id": ["d1", "blank"]}},
    }
    job_id = searching.create({**spec, "destination": {"field": "scores.parse"}})
    job = searching.wait_for(job_id)
    assert (job["items"]["done"], job["items"]["failed"]) == (1, 1)
    (row,), (failure,) = searching.rows(job_id), searching.rows(job_id, "failures")
    assert (failure["_id"], failure["error"]) == ("blank", "no_source: no text in the policy's fields")
    documents = {hit["_id"]: hit["_source"] for hit in read_all(cluster, index)}
    assert documents["d1"]["scores"] == {"parse": row["score"]}
    assert documents["d1"]["title"]
    assert "scores" not in documents["d2"]
    cluster("PUT", f"/{index}/_doc/blank?refresh=true", {"title": "text", "body": ""})
    searching.ask("POST", f"/{job_id}/retry")
    searching.wait_until_round(job_id, 1)
    assert searching.wait_for(job_id)["items"]["failed"] == 0
    assert [row["_id"] for row in searching.rows(job_id)] == ["d1", "blank"]


def test_a_scan_begins_anew_where_its_point_in_time_is_lost(searching, cluster, index):
    spec = {"kind": "scan", "index": index, "query_text": f"list {next(numbers)}", "page_size": 5}
    job_id = searching.create({**spec, "max_pairs_per_s": 10, "concurrency": 1})
    wait_until(lambda: searching.ask("GET", f"/{job_id}")[1]["items"]["done"] > 0)
    for path in ("/_pit", "/_search/point_in_time/_all"):
        cluster("DELETE", path, {"id": read_pit(searching, job_id)} if path == "/_pit" else None)
    job = searching.wait_for(job_id)
    assert (job["state"], job["items"]["done"]) == ("done", 60)
    assert len({row["_id"] for row in searching.rows(job_id)}) == 60


def read_pit(searching, job_id):
    from redis import Redis

    from worker.contract import job_key

    with Redis.from_url(searching.redis_url) as redis:
        return json.loads(redis.hget(job_key(job_id), "cursor"))["pit"]


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        pytest.param({"query": {"nonsense": {}}}, "nonsense", id="a clause that the cluster does not know"),
        pytest.param({"index": "pages-nowhere"}, "index_not_found", id="an index that is not there"),
    ],
)
def test_a_scan_that_cannot_begin_fails_with_the_reason(searching, index, spec, problem):
    job_id = searching.create({"kind": "scan", "index": index, "query_text": "list", **spec})
    job = searching.wait_for(job_id)
    assert job["state"] == "failed"
    assert problem in job["error"]


def test_documents_that_the_destination_refuses_fail_by_themselves(searching, cluster, index):
    destination = f"ranked-{next(numbers)}"
    cluster("PUT", f"/{destination}", {"mappings": {"properties": {"query_id": {"type": "integer"}}}})
    spec = {"kind": "queries", "index": index, "top_k": 3, "destination": {"index": destination}}
    job_id = searching.create({**spec, "queries": [{"id": "x", "query": "sort"}, {"id": 5, "query": "list"}]})
    job = searching.wait_for(job_id)
    assert (job["items"]["done"], job["items"]["failed"]) == (1, 1)
    (failure,) = searching.rows(job_id, "failures")
    assert failure["line"] == 1
    assert "pars" in failure["error"]  # mapper_parsing_exception, document_parsing_exception
    cluster("DELETE", f"/{destination}")


def test_a_destination_without_room_is_waited_for(searching, cluster, index):
    """As a full disk: the engines block writing until there is room again."""
    destination = f"ranked-{next(numbers)}"
    cluster("PUT", f"/{destination}")
    block = "index.blocks.read_only_allow_delete"
    assert cluster("PUT", f"/{destination}/_settings", {block: True})[0] == 200
    spec = {"kind": "queries", "index": index, "top_k": 3, "destination": {"index": destination}}
    job_id = searching.create({**spec, "queries": ["sort list"]})
    job = wait_until(lambda: (job := searching.ask("GET", f"/{job_id}")[1])["trouble"] and job)
    assert "cluster_block_exception" in job["trouble"]
    assert job["items"]["failed"] == 0
    cluster("PUT", f"/{destination}/_settings", {block: None})
    assert searching.wait_for(job_id)["items"]["done"] == 1
    assert len(read_all(cluster, destination)) == 3
    cluster("DELETE", f"/{destination}")


def test_a_submitters_credentials_are_used_and_forgotten(searching, index):
    """The engines here ask nobody who they are, so what is looked at is Redis."""
    from redis import Redis

    from worker.contract import job_key

    spec = {"kind": "scan", "index": index, "query_text": f"key {next(numbers)}", "max_pairs_per_s": 20}
    status, job = searching.ask("POST", body=spec, Authorization="Basic c2VjcmV0")
    assert status == 201
    with Redis.from_url(searching.redis_url) as redis:
        kept = redis.hget(job_key(job["id"]), "secret")
        assert kept
        assert b"c2VjcmV0" not in kept
        searching.wait_for(job["id"])
        wait_until(lambda: redis.hget(job_key(job["id"]), "secret") is None)
