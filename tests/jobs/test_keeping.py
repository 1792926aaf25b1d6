"""What is kept for jobs, and for how long."""

from __future__ import annotations

import json
from contextlib import closing

import pytest
from redis import Redis

from gateway.jobs.home import Home
from gateway.jobs.store import Job, JobStore
from tests.conftest import wait_until
from tests.gateway.doubles import ClusterDouble, answer
from tests.jobs.conftest import Product

pytestmark = pytest.mark.system


def test_what_has_ended_long_ago_is_forgotten(reranker_folder, tmp_path):
    home = Home(tmp_path / "jobs")
    with closing(Product(tmp_path, reranker_folder)) as product, Redis.from_url(product.redis_url) as redis:
        product.start("redis")
        store = JobStore(redis)
        for name, state, ended in (("old", "done", 1.0), ("new", "done", 4e9), ("open", "paused", 0.0)):
            home.spool(name).receive([b"line\n"])
            store.create(Job(name, {"kind": "pairs"}, state, 1.0, home.id, ended=ended))
        product.start("gateway")
        wait_until(lambda: product.ask("GET", "/old")[0] == 404)
        wait_until(lambda: not home.spool("old").folder.exists())
        for name in ("new", "open"):
            assert product.ask("GET", f"/{name}")[0] == 200
            assert home.spool(name).input.exists()


def test_a_job_asks_the_cluster_as_its_submitter_and_forgets_who_that_was(reranker_folder, tmp_path):
    def reply(received):
        if received.target.startswith("/pages/_search/point_in_time"):
            return answer(b'{"pit_id": "p"}')
        hits = {"total": {"value": 0}, "hits": []}
        return answer(
            b"" if received.method == "HEAD" else json.dumps({"pit_id": "p", "hits": hits}).encode()
        )

    cluster = ClusterDouble()
    cluster.script = reply
    product = Product(tmp_path, reranker_folder, cluster.url, jobs_secret="s", management_keys="k")
    with closing(product), closing(cluster):
        product.start("redis", "gateway")
        keys = {"X-Rerank-Key": "k", "Authorization": "Basic c2VjcmV0"}
        spec = {"kind": "scan", "index": "pages", "query_text": "q"}
        status, job = product.ask("POST", body=spec, **keys)
        assert status == 201
        wait_until(lambda: product.ask("GET", f"/{job['id']}", **keys)[1]["state"] == "done")
        asked = [one for one in cluster.received if one.method != "HEAD"]  # that only asks which engine it is
        assert [one.method for one in asked] == ["POST", "POST", "DELETE"]
        assert {one.header("authorization") for one in asked} == {"Basic c2VjcmV0"}
        with Redis.from_url(product.redis_url) as redis:
            kept = b"".join(
                value for key in redis.keys("rerank:job:*") for value in redis.hgetall(key).values()
            )
            assert b"c2VjcmV0" not in kept
            assert JobStore(redis).read_secret(job["id"]) == ""


def test_credentials_that_could_not_be_kept_are_refused(product):
    spec = {"kind": "scan", "index": "pages", "query_text": "q"}
    status, told = product.ask("POST", body=spec, Authorization="Basic c2VjcmV0")
    assert (status, told["error"]["reason"]) == (
        400,
        "credentials of your own need --jobs-secret on the gateway",
    )
