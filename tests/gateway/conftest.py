"""The servers of the gateway's tests as fixtures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import find_free_port
from tests.gateway.doubles import (
    RERANK_TOML,
    Client,
    ClusterDouble,
    start_gateway,
    stop,
)


@pytest.fixture(scope="session")
def config(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("config") / "rerank.toml"
    path.write_text(RERANK_TOML)
    return path


@pytest.fixture(scope="session")
def running_cluster() -> Iterator[ClusterDouble]:
    cluster = ClusterDouble()
    yield cluster
    cluster.close()


@pytest.fixture
def cluster(running_cluster) -> ClusterDouble:
    running_cluster.reset()
    return running_cluster


@pytest.fixture(scope="session")
def running_gateway(running_cluster, config) -> Iterator[Client]:
    process, port = start_gateway(running_cluster.url, config, f"redis://127.0.0.1:{find_free_port()}/0")
    yield Client(port, process.pid)
    stop(process)


@pytest.fixture
def gateway(running_gateway, cluster) -> Client:
    return running_gateway
