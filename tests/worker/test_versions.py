"""A worker serves the live version of a folder of versions, and pinned ones beside it."""

import shutil
import threading
import time
from contextlib import closing

import pytest

from rerankers import FlagAutoReranker, Versions
from tests.worker.conftest import ALIAS, Sender
from worker.contract import ScoreJob, Serving, online_queue, serving_key

pytestmark = pytest.mark.system

TEXTS = ("delete a folder", "sort a list")
QUERY = "how to delete a folder"
SETTINGS = 'max_length = 64\ndevices = "cpu"\n'


@pytest.fixture(scope="module")
def trained(reranker_folder, tmp_path_factory):
    """Two models that score differently, and what each makes of the texts."""
    from transformers import AutoModelForSequenceClassification

    folder = tmp_path_factory.mktemp("trained") / "two"
    shutil.copytree(reranker_folder, folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    model.classifier.weight.data *= 3
    model.save_pretrained(folder)
    return {"v1": reranker_folder, "v2": folder}


@pytest.fixture(scope="module")
def scores(trained):
    """By version, what the library says."""

    def score(folder):
        reranker = FlagAutoReranker.from_finetuned(str(folder), max_length=64, devices="cpu")
        return pytest.approx(reranker.compute_score([(QUERY, text) for text in TEXTS]), abs=1e-4)

    return {name: score(folder) for name, folder in trained.items()}


@pytest.fixture
def versions(trained, tmp_path):
    there = Versions(tmp_path / "versions")
    for name, folder in trained.items():
        there.add(folder, name)
    there.promote("v1")
    return there


@pytest.fixture
def worker(versions, redis_server, start_worker, sender, wait_until):
    """One that serves ``tiny``, and ``tiny@v2`` since an experiment names it."""
    config = versions.folder.parent / "rerank.toml"
    experiment = '[[experiments]]\nname = "e"\npolicy = "p"\narms = ["policy", "tiny@v2"]\n'
    config.write_text(f'[models.{ALIAS}]\nversions = "versions"\n{SETTINGS}{experiment}')
    worker = start_worker(redis_server.url, "--config", str(config), "--watch-s", "0.3")
    wait_until(lambda: sender.is_served() or worker.process.poll() is not None, timeout_s=120)
    assert worker.process.poll() is None, worker.log
    return worker


def score(sender, job_id, model=ALIAS):
    job = ScoreJob(id=job_id, model=model, query_text=QUERY, passages=TEXTS, deadline=time.time() + 60)
    sender.send(job.to_message(), queue=lambda _: online_queue(model))
    return sender.wait_for_reply(job_id)


def tell_serving(sender, model=ALIAS):
    (told,) = sender.redis.hgetall(serving_key(model)).values()
    return Serving.from_field(told)


def test_promotion_and_rollback_lose_no_job_and_pinned_versions_stay(
    versions, worker, sender, scores, redis_server, wait_until
):
    assert score(sender, "live").scores == scores["v1"]
    assert score(sender, "pinned", "tiny@v2").scores == scores["v2"]
    replies, stopped = {ALIAS: [], "tiny@v2": []}, threading.Event()

    def keep_asking(model):
        with closing(Sender(redis_server.url)) as asking:
            while not stopped.is_set():
                job_id = f"{model.replace('@', '-')}-{len(replies[model])}"
                replies[model].append(score(asking, job_id, model))

    threads = [threading.Thread(target=keep_asking, args=(model,)) for model in replies]
    for thread in threads:
        thread.start()
    try:
        versions.promote("v2")
        wait_until(lambda: tell_serving(sender).release == "v2", timeout_s=60)
        between = len(replies[ALIAS])
        versions.rollback()
        wait_until(lambda: tell_serving(sender).release == "v1", timeout_s=60)
    finally:
        stopped.set()
        for thread in threads:
            thread.join()
    assert score(sender, "last").scores == scores["v1"]
    assert [reply.scores for reply in replies["tiny@v2"]] == [scores["v2"]] * len(replies["tiny@v2"])
    by_version = {}
    for reply in replies[ALIAS]:
        by_version.setdefault(reply.model_version, []).append(reply.scores)
    assert between
    first, second = by_version.values()
    assert first == [scores["v1"]] * len(first)
    assert second == [scores["v2"]] * len(second)


def test_a_version_that_has_changed_is_not_taken_over_and_told_to_the_gateways(
    versions, worker, sender, scores, wait_until
):
    versions.promote("v2")
    wait_until(lambda: tell_serving(sender).release == "v2", timeout_s=60)
    weights = versions.locate("v1") / "model.safetensors"
    weights.chmod(0o644)
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    live = versions.folder / "live.json"  # as `promote` would not have written it
    live.write_text('{"history": [{"version": "v1", "at": "", "by": "promote"}]}')
    wait_until(lambda: tell_serving(sender).problem, timeout_s=60)
    assert "model.safetensors: has changed" in tell_serving(sender).problem
    assert score(sender, "after").scores == scores["v2"]
    live.write_text("{")
    wait_until(lambda: "live.json: can't be read" in tell_serving(sender).problem)
    assert score(sender, "still").scores == scores["v2"]


@pytest.mark.parametrize(
    ("asked", "aliases"),
    [
        pytest.param((), ["tiny", "tiny@v2"], id="what the file names"),
        pytest.param(("tiny",), ["tiny", "tiny@v2"], id="a model with its pinned versions"),
        pytest.param(("tiny@v1",), ["tiny@v1"], id="one version, named by nobody else"),
    ],
)
def test_which_versions_are_served(versions, asked, aliases):
    from worker.settings import WorkerSettings, read_models

    config = versions.folder.parent / "rerank.toml"
    config.write_text(f'[models.tiny]\nversions = "versions"\npinned = ["v2"]\n{SETTINGS}')
    found = read_models(WorkerSettings(config=config, models=asked))
    folders = {"tiny": "v1", "tiny@v1": "v1", "tiny@v2": "v2"}
    assert {alias: model.path for alias, model in found.items()} == {
        alias: str(versions.folder / folders[alias]) for alias in aliases
    }
