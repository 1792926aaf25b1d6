"""A model is exchanged while jobs run: none is lost, each is scored by one version."""

import shutil
import threading
from contextlib import closing

import pytest

from rerankers import FlagAutoReranker
from tests.worker.conftest import Sender

pytestmark = pytest.mark.system

TEXTS = ("delete a folder", "sort a list")
QUERY = "how to delete a folder"


@pytest.fixture(scope="module")
def versions(reranker_folder, tmp_path_factory):
    """Two folders of models that score differently."""
    from transformers import AutoModelForSequenceClassification

    folders = [tmp_path_factory.mktemp("versions") / name for name in ("one", "two")]
    for folder in folders:
        shutil.copytree(reranker_folder, folder)
    model = AutoModelForSequenceClassification.from_pretrained(folders[1])
    model.classifier.weight.data *= 3
    model.save_pretrained(folders[1])
    return folders


@pytest.fixture
def config(versions, tmp_path):
    """A rerank.toml whose model is a link to the first version."""
    (tmp_path / "current").symlink_to(versions[0])
    file = tmp_path / "rerank.toml"
    file.write_text('[models.tiny]\npath = "current"\nmax_length = 64\ndevices = "cpu"\n')
    return file


@pytest.fixture
def worker(config, redis_server, start_worker, sender, wait_until):
    worker = start_worker(redis_server.url, "--config", str(config), "--watch-s", "0.3")
    wait_until(sender.is_served, timeout_s=60)
    return worker


def point_to(config, folder):
    link = config.parent / "new"
    link.symlink_to(folder)
    link.replace(config.parent / "current")


def give_settings(config, folder):
    config.write_text(f'[models.tiny]\npath = "{folder}"\nmax_length = 64\ndevices = "cpu"\n')


def copy_over(config, folder):
    """As one should not: file by file, into the folder that is in use."""
    (config.parent / "current").unlink()
    shutil.copytree(folder, config.parent / "current")


def score_directly(folder):
    reranker = FlagAutoReranker.from_finetuned(str(folder), max_length=64, devices="cpu")
    return pytest.approx(reranker.compute_score([(QUERY, text) for text in TEXTS]), abs=1e-4)


@pytest.mark.parametrize("change", [point_to, give_settings, copy_over])
def test_what_has_changed_is_exchanged_and_no_job_is_lost(
    change, config, versions, worker, sender, redis_server
):
    one, two = map(score_directly, versions)
    first = sender.score("first", *TEXTS)
    assert first.scores == one
    assert one != two
    stopped, replies = threading.Event(), []

    def keep_asking():
        with closing(Sender(redis_server.url)) as asking:
            while not stopped.is_set():
                replies.append(asking.score(f"j{len(replies)}", *TEXTS))

    asking = threading.Thread(target=keep_asking)
    asking.start()
    change(config, versions[1])
    while "model.exchanged" not in worker.log and worker.process.poll() is None:
        stopped.wait(0.1)
    stopped.set()
    asking.join()
    last = sender.score("last", *TEXTS)
    assert last.scores == two
    assert last.model_version != first.model_version
    expected = {first.model_version: one, last.model_version: two}
    assert [reply.scores for reply in replies] == [expected[reply.model_version] for reply in replies]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("models = 3", "models.unreadable"),
        (
            '[models.tiny]\npath = "current"\nmax_length = 64\nrevision = "x"\nprompt = "of no use"',
            "model.kept",
        ),
        ('[models.tiny]\npath = "current"\n[models.other]\npath = "current"', "models.changed"),
    ],
    ids=["unreadable", "can't be loaded", "another alias"],
)
def test_what_can_not_be_served_is_told_and_the_model_stays(
    content, told, config, worker, sender, wait_until
):
    before = sender.score("before", *TEXTS)
    config.write_text(content)
    wait_until(lambda: told in worker.log or worker.process.poll() is not None)
    after = sender.score("after", *TEXTS)
    assert (after.scores, after.model_version) == (before.scores, before.model_version)
