"""Knows how to talk to the cluster: which node gets a request, and when it may be sent again."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Sequence
from typing import Literal

from gateway.aws import AwsCredentials
from gateway.cluster_settings import ClusterSettings
from gateway.credentials import Credentials, FixedCredentials, Outgoing
from gateway.errors import GatewayError
from gateway.hangup import ANYBODY, Client
from gateway.node import AnswerMissing, ClusterAnswer, ConnectFailed, Node
from gateway.node_pool import NodePool
from gateway.tls import make_tls
from gateway.wire import Header
from worker.contract.traces import current_span

__all__ = ["SAFE_METHODS", "Cluster", "ClusterAnswer", "EngineName", "open_cluster", "open_tls"]

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

EngineName = Literal["elasticsearch", "opensearch"]


def open_cluster(settings: ClusterSettings, idle_connections: int) -> Cluster:
    """The cluster that the settings describe; no connection is made yet.

    Raises:
        ConfigurationError: a file of certificates is missing or wrong, or there are no AWS credentials.
    """
    return Cluster(
        settings.cluster_url,
        connect_timeout_s=settings.connect_timeout_s,
        idle_connections=idle_connections,
        tls=open_tls(settings),
        credentials=_read_credentials(settings),
    )


def open_tls(settings: ClusterSettings) -> ssl.SSLContext | None:
    """Whom to trust and what to show on connections to the cluster; None where they have no TLS.

    Raises:
        ConfigurationError: a file of certificates is missing or wrong.
    """
    if not settings.cluster_url.startswith("https:"):
        return None
    return make_tls(
        ca=settings.cluster_ca,
        fingerprint=settings.cluster_fingerprint,
        client_cert=settings.cluster_client_cert,
        client_key=settings.cluster_client_key,
    )


class Cluster:
    """The cluster behind the gateway; one object a process, used by all its threads.

    There is no read timeout: how long a search may take is the cluster's and the client's affair. Whatever a
    node answers is the answer: no status makes the gateway ask again.

    Args:
        url: ``http(s)://host:port``, several nodes of one cluster separated by commas.
        connect_timeout_s: how long a new connection may take.
        idle_connections: how many connections to each node are kept for the next request.
        tls: whom to trust; None for the certificate authorities of this machine.
        credentials: for requests that have none; None for no such.
    """

    def __init__(
        self,
        url: str,
        *,
        connect_timeout_s: float,
        idle_connections: int = 10,
        tls: ssl.SSLContext | None = None,
        credentials: Credentials | None = None,
    ) -> None:
        self._nodes = [
            Node(one, connect_timeout_s=connect_timeout_s, idle_connections=idle_connections, tls=tls)
            for one in url.split(",")
        ]
        self._pool = NodePool(self._nodes)
        self._credentials = credentials
        self._engine: EngineName | None = None

    def send(
        self,
        method: str,
        target: str,
        headers: Sequence[Header],
        body: bytes | Iterable[bytes] = b"",
        *,
        is_read: bool = False,
        client: Client = ANYBODY,
    ) -> ClusterAnswer:
        """Send one request to the next node and wait for the head of the answer.

        A node that cannot be connected to has seen nothing of the request: another one gets it, each node at
        most once. If a node got the request and gave no answer, a request that changes nothing is sent
        again: as long as it was a kept connection, and once more after a new one broke, unless that was the
        only node's: the request itself may be why.

        Args:
            headers: end-to-end headers; Host is put in front. A stream without Content-Length goes chunked.
            body: bytes can be sent again, a stream cannot.
            is_read: the request changes nothing although its method could (a search by POST).
            client: when it goes away the connection is closed, by which the cluster cancels its work.

        Raises:
            ClusterUnreachable: no connection, or it broke before the head of the answer was there.
            RefusedRequest: the headers cannot be sent.
            UnreadableBody: the client's body could not be read to its end.
            BodyTooLarge: it cannot be signed.
            ClientGone: the client went away before the head was there.
        """
        request = Outgoing(method, target, headers, body)
        if self._credentials is not None:
            request = self._credentials.authorize(request)
        may_replay = isinstance(request.body, bytes) and (is_read or method in SAFE_METHODS)
        untried = len(self._nodes)
        silent: Node | None = None  # has got the request on a new connection and given no answer
        while True:
            node = self._pool.pick(avoid=silent)
            try:
                answer = node.send(*request, client=client)
            except ConnectFailed:
                self._pool.mark_dead(node)
                untried -= 1
                if untried <= 0:
                    raise
            except AnswerMissing as error:
                if not may_replay:
                    raise
                if not error.was_kept:  # kept ones come to an end by themselves, each is tried once
                    if len(self._nodes) == 1:
                        raise
                    may_replay, silent = False, node
            else:
                self._pool.mark_live(node)
                current_span().set(node=node.host)
                if self._engine is None and _is_elasticsearch(answer):
                    self._engine = "elasticsearch"
                return answer

    def find_engine(self) -> EngineName | None:
        """Which engine the cluster runs; None while that is not known, never an error.

        Elasticsearch 7.14 and later names itself in each answer, a refusal included; OpenSearch and older
        versions never do. Asks the cluster, once, if none of the answers so far has told.
        """
        if self._engine is None:
            try:
                answer = self.send("HEAD", "/", [])
                answer.read()
            except GatewayError:
                return None
            if self._engine is None and answer.status < 500:  # a failure may be of something in between
                self._engine = "opensearch"
        return self._engine

    def close(self) -> None:
        """Close all connections."""
        for node in self._nodes:
            node.close()


def _read_credentials(settings: ClusterSettings) -> Credentials | None:
    if settings.cluster_aws_region:
        region, service = settings.cluster_aws_region, settings.cluster_aws_service
        return AwsCredentials(settings.cluster_url, region=region, service=service)
    if settings.cluster_username and settings.cluster_password:
        password = settings.cluster_password.get_secret_value()
        return FixedCredentials.from_password(settings.cluster_username, password)
    if settings.cluster_api_key:
        return FixedCredentials.from_api_key(settings.cluster_api_key.get_secret_value())
    return None


def _is_elasticsearch(answer: ClusterAnswer) -> bool:
    return answer.header(b"x-elastic-product") == b"Elasticsearch"
