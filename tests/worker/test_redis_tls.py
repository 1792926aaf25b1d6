"""Redis over TLS: gateway, worker and monitor reach it with certificates, and trust no other."""

import os
import subprocess
import sys
import time
from contextlib import ExitStack, closing
from functools import partial

import pytest
import trustme
from celery import Celery
from kombu.exceptions import OperationalError
from redis import RedisError

from gateway.score_queue import QueueScorer
from gateway.scoring import ScoreRequest, ScoringFailed
from search_plugin import Reason
from tests.conftest import RedisServer, answers_ping, find_free_port, find_redis
from tests.worker.conftest import Sender
from worker.contract.address import RedisAddress

pytestmark = pytest.mark.system


class Certificates:
    """Files of two authorities, of Redis's certificate and of a client's; both are by the first one."""

    def __init__(self, folder):
        self.ours, foreign = trustme.CA(), trustme.CA()
        redis, client = self.ours.issue_cert("127.0.0.1"), self.ours.issue_cert("worker.test")
        pems = {
            "ours": self.ours.cert_pem,
            "foreign": foreign.cert_pem,
            "redis": redis.cert_chain_pems[0],
            "redis_key": redis.private_key_pem,
            "client": client.cert_chain_pems[0],
            "client_key": client.private_key_pem,
        }
        for name, pem in pems.items():
            pem.write_to_path(folder / f"{name}.pem")
            setattr(self, f"{name}_file", str(folder / f"{name}.pem"))

    @property
    def client_options(self):
        """What a client adds to its URL."""
        client, key = self.client_file, self.client_key_file
        return f"?ssl_ca_certs={self.ours_file}&ssl_certfile={client}&ssl_keyfile={key}"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module", params=["Redis's own TLS", "TLS before Redis"])
def tls_url(request, certificates, wait_until):
    """The address of a Redis that wants to see a certificate."""
    port, tls_port = str(find_free_port()), str(find_free_port())
    redis_tls = {
        "--tls-port": tls_port,
        "--tls-ca-cert-file": certificates.ours_file,
        "--tls-cert-file": certificates.redis_file,
        "--tls-key-file": certificates.redis_key_file,
    }
    is_own = request.param == "Redis's own TLS"
    if is_own and not has_tls(find_redis()):
        pytest.skip("this redis-server is built without TLS")
    url = f"rediss://127.0.0.1:{tls_port}/0"
    with ExitStack() as stack:
        server = RedisServer(port, *(word for flag in redis_tls.items() for word in flag if is_own))
        server.start()
        stack.callback(server.kill)
        if not is_own:
            files = (certificates.ours_file, certificates.redis_file, certificates.redis_key_file)
            command = [sys.executable, "-m", "tests.worker.tls_proxy", tls_port, port, *files]
            proxy = subprocess.Popen(command, stderr=subprocess.DEVNULL)
            stack.callback(proxy.wait)
            stack.callback(proxy.kill)
        with RedisAddress.from_url(url + certificates.client_options).connect() as client:
            wait_until(partial(answers_ping, client))
        yield url


def has_tls(redis_server):
    """It complains of its first wrong option only."""
    tried = subprocess.run([redis_server, "--tls-port", "0", "--port", "x"], capture_output=True, check=False)
    return b"tls-port" not in tried.stdout + tried.stderr


def test_jobs_go_to_and_fro_over_tls(tls_url, certificates, start_worker, wait_until):
    url = tls_url + certificates.client_options
    worker = start_worker(url, module="tests.worker.scripted_worker")
    with closing(Sender(url)) as sender, closing(QueueScorer(url, max_waiting=2)) as scorer:
        wait_until(lambda: sender.is_served() or worker.process.poll() is not None)
        request = ScoreRequest("tiny", "q", ("text", "texts"), time.monotonic() + 10)
        assert scorer.score(request).logits == (4, 5)
    told = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "worker.monitor", "inspect", "ping", "--timeout", "3"],
        env={**os.environ, "CELERY_BROKER_URL": url},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert "pong" in told.stdout, told.stderr


@pytest.mark.parametrize(
    ("host", "options", "reason"),
    [
        pytest.param("127.0.0.1", "{client}", "", id="good"),
        pytest.param("127.0.0.1", "", "certificate verify failed", id="this machine's authorities"),
        pytest.param("127.0.0.1", "?ssl_ca_certs={foreign}", "certificate verify failed", id="another's"),
        pytest.param("localhost", "{client}", "certificate verify failed", id="another host's certificate"),
        pytest.param("localhost", "{client}&ssl_check_hostname=false", "", id="whatever its host"),
        pytest.param("127.0.0.1", "?ssl_ca_certs={ours}", ".", id="no certificate of its own"),
    ],
)
def test_redis_is_trusted_by_its_certificate(tls_url, certificates, host, options, reason):
    """By both connections that each process has."""
    options = options.format(
        client=certificates.client_options, ours=certificates.ours_file, foreign=certificates.foreign_file
    )
    address = RedisAddress.from_url(tls_url.replace("127.0.0.1", host) + options)
    app = Celery(set_as_current=False)
    app.conf.update(address.configure_celery(max_retries=1, interval_start=0))
    with address.connect(retry=None) as redis, app.connection_for_write() as broker:
        for connect, refusal in (
            (redis.ping, RedisError),
            (lambda: broker.ensure_connection(max_retries=1, interval_start=0), OperationalError),
        ):
            if reason:
                with pytest.raises(refusal, match=reason):
                    connect()
            else:
                assert connect()


def test_both_sides_say_why_they_do_not_trust_redis(tls_url, certificates, start_worker, wait_until, caplog):
    url = f"{tls_url}?ssl_ca_certs={certificates.foreign_file}"
    with closing(QueueScorer(url, max_waiting=2)) as scorer:
        request = ScoreRequest("tiny", "q", ("text",), time.monotonic() + 10)
        with pytest.raises(ScoringFailed) as caught:
            scorer.score(request)
    assert caught.value.reason == Reason.BACKEND_ERROR
    assert "certificate verify failed" in caplog.text
    worker = start_worker(url, module="tests.worker.scripted_worker")
    wait_until(lambda: "certificate verify failed" in worker.log)
    assert worker.process.poll() is None  # the certificate may be put right
