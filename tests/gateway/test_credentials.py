"""Who a request to the cluster is from: the caller, or the gateway where the caller does not say."""

from __future__ import annotations

import pytest

from gateway.cluster import Cluster, open_cluster
from gateway.credentials import FixedCredentials
from gateway.settings import read_settings

PASSWORD = FixedCredentials.from_password("elastic", "p:ä")
API_KEY = FixedCredentials.from_api_key("aWQ6a2V5")


@pytest.mark.parametrize(
    ("credentials", "header", "sent"),
    [
        pytest.param(None, None, None, id="nobody"),
        pytest.param(None, "Bearer t", "Bearer t", id="the caller"),
        pytest.param(PASSWORD, None, "Basic ZWxhc3RpYzpwOsOk", id="the gateway by password"),
        pytest.param(API_KEY, None, "ApiKey aWQ6a2V5", id="the gateway by API key"),
        pytest.param(PASSWORD, "Bearer t", "Bearer t", id="the caller, not the gateway"),
        pytest.param(PASSWORD, "", "", id="a caller that says nothing, in a header"),
    ],
)
def test_the_callers_credentials_come_first(cluster, credentials, header, sent):
    opened = Cluster(cluster.url, connect_timeout_s=1, credentials=credentials)
    headers = [] if header is None else [(b"authorization", header.encode())]
    opened.send("GET", "/", headers).read()
    opened.close()
    assert cluster.received[0].header("Authorization") == sent


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        pytest.param(["--cluster-username", "u", "--cluster-password", "p"], "Basic dTpw", id="password"),
        pytest.param(["--cluster-api-key", "c2VjcmV0"], "ApiKey c2VjcmV0", id="API key"),
    ],
)
def test_options_become_credentials(cluster, options, sent):
    """The gateway's own questions carry them too."""
    opened = open_cluster(read_settings(["--cluster-url", cluster.url, *options]), idle_connections=1)
    assert opened.find_engine() == "opensearch"
    opened.close()
    assert cluster.received[0].header("Authorization") == sent


def test_credentials_do_not_show_themselves():
    assert "ZWxhc" not in f"{PASSWORD!r}{PASSWORD}"
