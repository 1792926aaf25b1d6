"""Knows what a gateway with these settings has around it, and how each part is reached."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass

from redis import Redis

from gateway.cluster import Cluster, open_cluster
from gateway.errors import ConfigurationError
from gateway.settings import Config, GatewaySettings, read_config
from worker.contract.address import RedisAddress

_REDIS_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Surroundings:
    """What the checks look at.

    Attributes:
        config: empty where the file cannot be read; ``config_error`` says why.
        nodes: each node of the cluster by its address, as a cluster of its own.
    """

    settings: GatewaySettings
    config: Config
    config_error: str
    cluster: Cluster
    nodes: dict[str, Cluster]
    redis: Redis


@contextmanager
def open_surroundings(settings: GatewaySettings) -> Iterator[Surroundings]:
    """What these settings name; no connection is made yet, and all are closed at the end.

    Raises:
        ConfigurationError: a file of certificates is missing or wrong.
    """
    config, config_error = Config((), ()), ""
    try:
        config = read_config(settings.config)
    except ConfigurationError as error:
        config_error = str(error)
    timeouts = {"socket_timeout": _REDIS_TIMEOUT_S, "socket_connect_timeout": _REDIS_TIMEOUT_S}
    with ExitStack() as stack:

        def open_nodes(url: str) -> Cluster:
            of_these = settings.model_copy(update={"cluster_url": url})
            return stack.enter_context(closing(open_cluster(of_these, idle_connections=1)))

        yield Surroundings(
            settings,
            config,
            config_error,
            cluster=open_nodes(settings.cluster_url),
            nodes={url: open_nodes(url) for url in settings.cluster_url.split(",")},
            redis=stack.enter_context(
                closing(RedisAddress.from_url(settings.redis_url).connect(retry=None, **timeouts))
            ),
        )
