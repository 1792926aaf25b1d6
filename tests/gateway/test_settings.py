"""What an operator may set, and what is said when it is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.errors import ConfigurationError
from gateway.settings import read_config, read_settings

TLS_URL = ["--cluster-url", "https://es:9200"]
POLICY = '[[policies]]\nname = "p"\nindices = ["*"]\nmodel = "m"\npassage_fields = ["t"]\n'
ROOT = Path(__file__).parents[2]


def write(folder: Path, text: str) -> Path:
    path = folder / "rerank.toml"
    path.write_text(text)
    return path


def test_policies_are_read_in_order(tmp_path):
    second = POLICY.replace('name = "p"', 'name = "q"')
    policies = read_config(write(tmp_path, f'[models.m]\npath = "x"\n{POLICY}{second}')).policies
    assert [(policy.name, policy.model) for policy in policies] == [("p", "m"), ("q", "m")]


def test_pinned_versions_are_models_that_may_be_named(tmp_path):
    pinned = POLICY.replace('"m"', '"m@v2"')
    config = read_config(write(tmp_path, f'[models.m]\nversions = "v"\npinned = ["v1"]\n{pinned}'))
    assert (config.models, config.default_model) == (("m", "m@v1", "m@v2"), "m")


def test_a_file_without_policies_is_a_gateway_that_only_passes_on(tmp_path):
    assert read_config(write(tmp_path, "")).policies == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("[models", "not TOML", id="not TOML"),
        pytest.param("[polices]", "polices: unknown", id="unknown table"),
        pytest.param("models = 1", "models: expected", id="models is no table"),
        pytest.param("[models]\nm = 1", "models: expected", id="a model is no table"),
        pytest.param("policies = 1", "policies: expected", id="policies is no list"),
        pytest.param("policies = [1]", "policy 1: ", id="a policy is no table"),
        pytest.param(POLICY, r"policy 'p': model: no \[models.m\]", id="undeclared model"),
        pytest.param(
            "[models.m]\n" + POLICY.replace('"m"', '"m@v1"'),
            r"\[models.m\] has no versions",
            id="no versions",
        ),
        pytest.param("[models.m]\npinned = 1\n", "models.m.pinned: expected", id="pinned is no list"),
        pytest.param("[models.m]\n" + POLICY * 2, "policy 'p': name: not unique", id="name used twice"),
        pytest.param("[models.m]\n" + POLICY + "windw = 3", "policy 'p': windw: ", id="unknown field"),
        pytest.param("[models.m]\n" + POLICY + "window = -1", "policy 'p': window: ", id="wrong value"),
        pytest.param('[models.m]\n[[policies]]\nmodel = "m"', "policy 1: name: ", id="missing name"),
    ],
)
def test_a_wrong_file_is_told_by_file_policy_and_field(tmp_path, text, message):
    path = write(tmp_path, text)
    with pytest.raises(ConfigurationError, match=message) as caught:
        read_config(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        read_config(tmp_path / "none.toml")


def test_flags_overrule_the_environment_which_overrules_defaults(monkeypatch):
    monkeypatch.setenv("RERANK_GATEWAY_THREADS", "3")
    monkeypatch.setenv("RERANK_GATEWAY_WORKERS", "4")
    settings = read_settings(["--threads", "5", "--cluster-url", "https://es:9243/"])
    assert (settings.threads, settings.workers, settings.bind) == (5, 4, "127.0.0.1:9201")
    assert settings.cluster_url == "https://es:9243"


def test_several_nodes_are_separated_by_commas(monkeypatch):
    monkeypatch.setenv("RERANK_GATEWAY_CLUSTER_URL", "https://a:9200/, https://b:9200")
    assert read_settings([]).cluster_url == "https://a:9200,https://b:9200"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(
            ["--cluster-url", "es:9200"], r"--cluster-url \(RERANK_GATEWAY_CLUSTER_URL\)", id="no scheme"
        ),
        pytest.param(["--cluster-url", "http://es/path"], "--cluster-url", id="with a path"),
        pytest.param(["--cluster-url", "http://u:p@es"], "--cluster-url", id="with credentials"),
        pytest.param(["--cluster-url", "http://es:x"], "--cluster-url", id="port is no number"),
        pytest.param(["--cluster-url", "http://a:1,,http://b:1"], "--cluster-url", id="a comma too many"),
        pytest.param(["--cluster-url", "http://a:1,https://b:1"], "for all nodes", id="two schemes"),
        pytest.param(["--cluster-url", "http://a:1,http://a:1/"], "each node once", id="one node twice"),
        pytest.param(
            [*TLS_URL, "--cluster-fingerprint", "ab:cd"], "--cluster-fingerprint", id="half a fingerprint"
        ),
        pytest.param(
            [*TLS_URL, "--cluster-fingerprint", "0" * 64, "--cluster-ca", "ca.pem"],
            "--cluster-fingerprint excludes --cluster-ca",
            id="two kinds of trust",
        ),
        pytest.param(
            [*TLS_URL, "--cluster-client-key", "key.pem"],
            "--cluster-client-key needs --cluster-client-cert",
            id="a key alone",
        ),
        pytest.param(["--cluster-ca", "ca.pem"], "--cluster-ca needs https://", id="trust without TLS"),
        pytest.param(
            ["--cluster-username", "u"], "--cluster-username needs --cluster-password", id="no password"
        ),
        pytest.param(
            ["--cluster-password", "secret"], "--cluster-password needs --cluster-username", id="no user"
        ),
        pytest.param(
            ["--cluster-username", "u", "--cluster-password", "secret", "--cluster-api-key", "c2VjcmV0"],
            "--cluster-api-key excludes --cluster-username",
            id="two kinds of credentials",
        ),
        pytest.param(["--cluster-api-key", "id:secret"], "expected the encoded form", id="key not encoded"),
        pytest.param(
            ["--cluster-url", "http://a:1,http://b:1", "--cluster-aws-region", "r"],
            "--cluster-aws-region needs a single node",
            id="AWS with two nodes",
        ),
        pytest.param(["--cluster-aws-service", "s3"], "--cluster-aws-service", id="another service of AWS"),
        pytest.param(["--publish-address", "gateway"], "--publish-address", id="published without port"),
        pytest.param(["--tls-key", "key.pem"], "--tls-key needs --tls-cert", id="a key for clients alone"),
        pytest.param(["--bind", "9201"], "--bind", id="no host"),
        pytest.param(["--threads", "0"], "--threads", id="no threads"),
        pytest.param(["--redis-url", "http://r"], "--redis-url", id="not Redis"),
        pytest.param(["--thread", "1"], "--thread", id="unknown flag"),
    ],
)
def test_a_wrong_option_is_told_by_name(arguments, message):
    with pytest.raises(ConfigurationError, match=message) as caught:
        read_settings(arguments)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


SECRET = '{"s": [1, null], "a,b'


@pytest.fixture(params=["flag", "environment", "file"])
def settings_with_secret(request, monkeypatch, tmp_path):
    """In which the password came in one of the three ways."""
    arguments = ["--cluster-username", "u"]
    if request.param == "flag":
        arguments += ["--cluster-password", SECRET]
    elif request.param == "environment":
        monkeypatch.setenv("RERANK_GATEWAY_CLUSTER_PASSWORD", SECRET)
    else:
        (tmp_path / "rerank_gateway_cluster_password").write_text(f"{SECRET}\n")
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    return read_settings(arguments)


def test_a_secret_is_read_as_it_is_and_shown_nowhere(settings_with_secret):
    assert settings_with_secret.cluster_password.get_secret_value() == SECRET
    assert (
        "null" not in f"{settings_with_secret!r} {settings_with_secret} {settings_with_secret.model_dump()}"
    )


@pytest.mark.parametrize(("name", "value"), [("THREAD", "1"), ("PORT", "9201"), ("SERVICE", "x")])
def test_an_unknown_option_in_the_environment_is_refused(name, value, monkeypatch):
    monkeypatch.setenv(f"RERANK_GATEWAY_{name}", value)
    with pytest.raises(ConfigurationError, match=f"RERANK_GATEWAY_{name}: no such option"):
        read_settings([])


KUBERNETES_LINKS = {  # of a service that is called rerank-gateway
    "SERVICE_HOST": "10.0.0.7",
    "SERVICE_PORT": "9201",
    "SERVICE_PORT_HTTP": "9201",
    "PORT": "tcp://10.0.0.7:9201",
    "PORT_9201_TCP": "tcp://10.0.0.7:9201",
    "PORT_9201_TCP_ADDR": "10.0.0.7",
}


def test_what_kubernetes_tells_of_a_service_of_our_name_is_no_option(monkeypatch):
    for name, value in KUBERNETES_LINKS.items():
        monkeypatch.setenv(f"RERANK_GATEWAY_{name}", value)
    assert read_settings([]).bind == "127.0.0.1:9201"


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["--config", "nowhere.toml"], id="no file"),
        pytest.param(["--cluster-url", "nonsense"], id="wrong option"),
        pytest.param(["--config", os.devnull, *TLS_URL, "--cluster-ca", "none.pem"], id="no authority"),
        pytest.param(["--config", os.devnull, "--tls-cert", "none.pem"], id="no certificate for clients"),
        pytest.param(["--config", os.devnull, "--tls-cert", os.devnull], id="an empty certificate"),
        pytest.param(["--nonsense"], id="unknown option"),
    ],
)
def test_the_process_says_in_one_line_what_is_wrong_and_exits_with_2(arguments):
    ended = _run(arguments)
    assert ended.returncode == 2
    assert ended.stderr.startswith("gateway: ")
    assert ended.stderr.count("\n") == 1


def test_help_describes_every_option():
    ended = _run(["--help"])
    assert ended.returncode == 0
    for flag in (
        "bind",
        "cluster-url",
        "redis-url",
        "config",
        "search-body-limit-bytes",
        "connect-timeout-s",
    ):
        assert f"--{flag}" in ended.stdout


def _run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gateway", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
