"""What the doctor finds: on real Redis servers, in clusters that answer by script, and in a real engine."""

import json
import ssl
import subprocess
import sys
import time
import tomllib
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import trustme
import urllib3
from redis import Redis

from gateway.doctor import examine, open_surroundings
from gateway.doctor.expiry import judge_expiry
from gateway.doctor.listeners import is_loopback
from gateway.doctor.redis import judge_clock, judge_cluster_mode, judge_eviction, judge_memory, judge_version
from gateway.experiments.ledger import Ledger
from gateway.settings import read_settings
from search_plugin import Experiment, Policy, Trial, make_scan_plan
from tests.conftest import RedisServer, find_free_port
from tests.gateway.doubles import ClusterDouble, answer
from worker.contract import Entry, Serving, load_key, serving_key

ROOT = Path(__file__).parents[2]
TOML = """
[models.docs]
path = "x"

[[policies]]
name = "docs"
indices = ["docs-*"]
model = "docs"
passage_fields = ["title"]
max_passage_chars = 1000
window = 50
deadline_ms = 1000
"""
NOWHERE = "redis://127.0.0.1:1/0"


@pytest.fixture
def look(tmp_path, cluster):
    """``look(toml, redis_url, …)``: (subject, level) → what is said, of all findings."""

    def look(toml=TOML, redis_url=NOWHERE, **flags):
        config = tmp_path / "rerank.toml"
        config.write_text(toml)
        flags = {"config": config, "redis_url": redis_url, "cluster_url": cluster.url, **flags}
        words = [
            str(word) for name, value in flags.items() for word in (f"--{name.replace('_', '-')}", value)
        ]
        with open_surroundings(read_settings(words)) as around:
            found = examine(around)
        assert all(bool(finding.mend) == (finding.level != "ok") for finding in found)
        return {
            (finding.subject, str(finding.level)): f"{finding.what} → {finding.mend}" for finding in found
        }

    return look


@contextmanager
def redis_with(*flags):
    server = RedisServer(find_free_port(), *flags)
    server.start()
    try:
        yield server
    finally:
        server.kill()


RULE = "doctor on >secret ~rerank:* &* +@all -@admin -@dangerous"


@pytest.mark.system
@pytest.mark.parametrize(
    ("flags", "login", "expected"),
    [
        pytest.param(
            [],
            "",
            {
                "redis.writable ok",
                "redis.version ok",
                "redis.mode ok",
                "redis.eviction ok",
                "redis.memory ok",
                "redis.persistence hint",
                "redis.clock ok",
            },
            id="a plain one",
        ),
        pytest.param(
            ["--maxmemory-policy", "allkeys-lru"], "", {"redis.eviction problem"}, id="evicts queues"
        ),
        pytest.param(["--appendonly", "yes"], "", {"redis.persistence ok"}, id="append-only file"),
        pytest.param(
            ["--maxmemory", "1"], "", {"redis.writable problem", "redis.memory problem"}, id="is full"
        ),
        pytest.param(["--replicaof", "127.0.0.1", "1"], "", {"redis.writable problem"}, id="a replica"),
        pytest.param(["--requirepass", "secret"], "", {"redis.reachable problem"}, id="wants a password"),
        pytest.param(
            ["--user", *RULE.split(), "+info"],
            "doctor:secret@",
            {"redis.writable ok", "redis.eviction ok", "redis.memory ok"},
            id="our own ACL rule, where CONFIG is forbidden",
        ),
        pytest.param(
            ["--user", *RULE.split(), "-info"],
            "doctor:secret@",
            {"redis.writable ok", "redis.version hint", "redis.clock ok"},
            id="INFO is forbidden",
        ),
        pytest.param(
            ["--user", *RULE.replace("rerank:*", "mine:*").split(), "+info"],
            "doctor:secret@",
            {"redis.writable problem", "redis.eviction ok"},
            id="other keys only",
        ),
    ],
)
def test_what_is_found_of_redis(flags, login, expected, look, tmp_path):
    with redis_with("--dir", str(tmp_path), *flags) as server:
        found = look(redis_url=server.url.replace("//", f"//{login}"))
    assert expected <= {" ".join(key) for key in found}
    if expected == {"redis.reachable problem"}:
        assert ("workers", "hint") in found


@pytest.mark.parametrize(
    ("judged", "level", "said"),
    [
        pytest.param(judge_version({"redis_version": "6.0.16"}), "hint", "6.2", id="an old Redis"),
        pytest.param(judge_version({"redis_version": "8.0.1"}), "ok", "8.0.1", id="a new one"),
        pytest.param(judge_version({"redis_version": "255.255.255"}), "ok", "255", id="one of no version"),
        pytest.param(judge_cluster_mode({"cluster_enabled": 1}), "problem", "Celery", id="Redis Cluster"),
        pytest.param(judge_cluster_mode({"cluster_enabled": 0}), "ok", "standalone", id="one node"),
        pytest.param(judge_eviction({}), "hint", "noeviction", id="eviction not told"),
        pytest.param(
            judge_memory({"used_memory": 80, "maxmemory": 100}), "hint", "maxmemory", id="nearly full"
        ),
        pytest.param(judge_memory({"used_memory": 95, "maxmemory": 100}), "problem", "maxmemory", id="full"),
        pytest.param(judge_memory({"used_memory": 10, "maxmemory": 100}), "ok", "of", id="enough memory"),
        pytest.param(judge_clock(3.0), "ok", "differ", id="clocks nearly together"),
        pytest.param(judge_clock(60.0), "hint", "60 s ahead of", id="Redis ahead"),
        pytest.param(judge_clock(-60.0), "hint", "60 s behind", id="Redis behind"),
        pytest.param(judge_expiry("c", "cert", -1.0, 0.0), "problem", "has expired", id="expired"),
        pytest.param(judge_expiry("c", "cert", 20 * 86400.0, 0.0), "hint", "20 days", id="expires soon"),
        pytest.param(judge_expiry("c", "cert", 90 * 86400.0, 0.0), "ok", "90 days", id="expires late"),
    ],
)
def test_how_figures_are_judged(judged, level, said):
    assert judged.level == level
    assert said in f"{judged.what} {judged.mend}"


def mark(version="v1", age_s=0.0, speed=1e6, max_characters=0, **named):
    """What a worker will have told so long ago when the test runs."""
    return lambda: Serving(version, time.time() - age_s, speed, max_characters, **named).to_field()


@pytest.mark.system
@pytest.mark.parametrize(
    ("marks", "waiting", "subject", "level", "said"),
    [
        pytest.param([], 0, "workers.serving", "problem", "no_worker", id="nobody serves"),
        pytest.param([mark(age_s=60)], 0, "workers.serving", "problem", "no worker", id="who did is dead"),
        pytest.param([mark(), mark()], 0, "workers.serving", "ok", "2 serve it", id="two serve"),
        pytest.param([mark(), mark()], 0, "workers.versions", "ok", "v1", id="the same version"),
        pytest.param([mark(release="new")], 0, "workers.versions", "ok", "v1 (new)", id="a named version"),
        pytest.param(
            [mark(problem="x: has changed")],
            0,
            "workers.kept",
            "problem",
            "has changed",
            id="an old one stays",
        ),
        pytest.param([mark(), mark("v2")], 0, "workers.versions", "hint", "v1, v2", id="two versions"),
        pytest.param([mark()], 0, "workers.speed", "ok", "takes 50 of 1,000 ms", id="fast enough"),
        pytest.param([mark(speed=100)], 0, "workers.speed", "hint", "deadline_ms", id="too slow"),
        pytest.param(
            [mark(speed=2000, max_characters=40)], 0, "workers.speed", "ok", "1,000 of", id="reads less"
        ),
        pytest.param([mark(speed=0)], 0, "workers.speed", "ok", "not measured", id="not measured"),
        pytest.param([mark()], 0, "workers.load", "ok", "0 bulk", id="nothing waits"),
        pytest.param([mark()], 5_000_000, "workers.load", "hint", "5.0 s of work", id="much waits"),
    ],
)
def test_what_is_found_of_workers(marks, waiting, subject, level, said, look, redis_url):
    with closing(Redis.from_url(redis_url)) as redis:
        redis.flushdb()
        for number, told in enumerate(marks):
            redis.hset(serving_key("docs"), f"host:{number}:x", told())
        if waiting:
            member = Entry("job", 0, waiting, "docs").to_member()
            redis.zadd(load_key("docs"), {member: time.time() + 60})
        found = look(redis_url=redis_url)
        redis.flushdb()
    assert said in found[subject, level]


UNNEEDED = '[models.spare]\npath = "x"\n'
EXPERIMENT = """
[[experiments]]
name = "e"
policy = "docs"
arms = ["policy", "spare"]
unit = "header:X-Session"
"""
TRIAL = Trial(
    Experiment.model_validate(tomllib.loads(EXPERIMENT)["experiments"][0]),
    unit="s",
    plan=make_scan_plan(Policy(name="docs", indices=("docs-*",), model="docs"), "wine"),
    arm=0,
    shown=(),
)


@pytest.mark.system
@pytest.mark.parametrize(
    ("toml", "n_with", "n_without", "subject", "level", "said"),
    [
        pytest.param(EXPERIMENT, 0, 0, "experiments.policy", "ok", "100% of policy docs", id="all well"),
        pytest.param(f"{EXPERIMENT}share = 0", 0, 0, "experiments.policy", "hint", "share is 0", id="nobody"),
        pytest.param(EXPERIMENT, 0, 0, "experiments.unit", "ok", "no searches yet", id="no searches"),
        pytest.param(EXPERIMENT, 9, 1, "experiments.unit", "ok", "1 of 10", id="few without a session"),
        pytest.param(
            EXPERIMENT,
            1,
            1,
            "experiments.unit",
            "hint",
            "1 of 2 searches have no header:X-Session",
            id="many",
        ),
        pytest.param(EXPERIMENT, 5, 0, "experiments.split", "ok", "too early", id="too early"),
        pytest.param(
            EXPERIMENT, 0, 0, "workers.serving", "problem", "model spare", id="an arm is not served"
        ),
        pytest.param(
            EXPERIMENT.replace('"docs"', '"dogs"'), 0, 0, "config.file", "problem", "'dogs'", id="no policy"
        ),
        pytest.param(
            EXPERIMENT.replace('"spare"', '"spar"'),
            0,
            0,
            "config.file",
            "problem",
            "[models.spar]",
            id="no model",
        ),
    ],
)
def test_what_is_found_of_experiments(toml, n_with, n_without, subject, level, said, look, redis_url):
    toml = f"{UNNEEDED}{TOML}{toml}"
    with closing(Redis.from_url(redis_url)) as redis:
        redis.flushdb()
        redis.hset(serving_key("docs"), "host:1:x", mark()())
        ledger = Ledger(redis, 60)
        for number in range(n_with):
            ledger.note_shown(TRIAL, f"q{number}", ["1"], [])
        for _ in range(n_without):
            ledger.note_without_unit(TRIAL.experiment)
        found = look(toml, redis_url=redis_url)
        redis.flushdb()
    assert said in found[subject, level]


SECOND = TOML.partition("[[policies]]")[2].replace('"docs"', '"late"', 1)


@pytest.mark.system
@pytest.mark.parametrize(
    ("toml", "subject", "level", "said"),
    [
        pytest.param("[", "config.file", "problem", "not TOML", id="not TOML"),
        pytest.param("", "config.file", "hint", "no policies", id="no policies"),
        pytest.param(TOML, "config.file", "ok", "1 policies", id="all well"),
        pytest.param(
            f"{TOML}[[policies]]{SECOND}".replace(
                '"late"\nindices = ["docs-*"]', '"late"\nindices = ["docs-1"]'
            ),
            "config.order",
            "hint",
            "policy late: docs comes before",
            id="a policy that never applies",
        ),
        pytest.param(UNNEEDED + TOML, "workers.serving", "hint", "model spare", id="a model without policy"),
    ],
)
def test_what_is_found_of_the_file(toml, subject, level, said, look, redis_url):
    assert said in look(toml, redis_url)[subject, level]


def says(
    version="3.6.0", *, status="200 OK", fields=None, mappings=None, indices=("docs-1", "docs-2"), headers=()
):
    """A cluster of OpenSearch, or with the header of Elasticsearch."""
    told = {
        "": {"version": {"number": version}},
        "_field_caps": {"indices": indices, "fields": fields or {}},
        "_mapping": {name: {"mappings": told} for name, told in (mappings or {}).items()},
    }

    def script(received):
        place = urlsplit(received.target).path.rpartition("/")[2]
        asked = parse_qs(urlsplit(received.target).query).get("fields", [""])[0].split(",")
        reply = dict(told[place])
        if place == "_field_caps":
            reply["fields"] = {name: types for name, types in reply["fields"].items() if name in asked}
        return answer(b"" if received.method == "HEAD" else json.dumps(reply).encode(), status, headers)

    return script


TEXT, ELASTIC = {"text": {"type": "text"}}, ["X-Elastic-Product: Elasticsearch"]
UNMAPPED = {"unmapped": {"indices": ["docs-2"]}}


@pytest.mark.parametrize(
    ("script", "field", "subject", "level", "said"),
    [
        pytest.param(says(), "title", "cluster.version", "ok", "opensearch 3.6.0", id="OpenSearch"),
        pytest.param(
            says("9.5.3", headers=ELASTIC),
            "title",
            "cluster.version",
            "ok",
            "elasticsearch 9",
            id="Elasticsearch",
        ),
        pytest.param(says("1.3.0"), "title", "cluster.version", "hint", "tested is 3", id="old OpenSearch"),
        pytest.param(
            says("6.8.0", headers=ELASTIC), "title", "cluster.version", "hint", "7.17", id="old Elasticsearch"
        ),
        pytest.param(
            says(status="401 Unauthorized"),
            "title",
            "cluster.credentials",
            "hint",
            "wants",
            id="wants to know",
        ),
        pytest.param(
            says(status="503 Service Unavailable"),
            "title",
            "cluster.reachable",
            "problem",
            "503",
            id="in trouble",
        ),
        pytest.param(
            says(status="403 Forbidden"), "title", "policies.indices", "hint", "403", id="shows no mappings"
        ),
        pytest.param(says(indices=()), "title", "policies.indices", "hint", "no index", id="no index"),
        pytest.param(says(), "title", "policies.indices", "ok", "docs-1, docs-2", id="two indices"),
        pytest.param(says(), "titel", "policies.field", "problem", "titel is in no", id="no such field"),
        pytest.param(
            says(mappings={"docs-1": {"dynamic": "false"}}),
            "titel",
            "policies.field",
            "hint",
            "do not map all",
            id="perhaps in documents",
        ),
        pytest.param(
            says(fields={"title": TEXT | UNMAPPED}),
            "title",
            "policies.field",
            "hint",
            "docs-2",
            id="in one only",
        ),
        pytest.param(
            says(fields={"title": {"long": {}}}),
            "title",
            "policies.field",
            "hint",
            "type long",
            id="a number",
        ),
        pytest.param(
            says(fields={"title": TEXT, "title.en": TEXT}),
            "title.en",
            "policies.field",
            "problem",
            "name title",
            id="a multi-field",
        ),
        pytest.param(
            says(fields={"part": {"nested": {}}, "part.title": TEXT}),
            "part.title",
            "policies.field",
            "ok",
            "type text",
            id="inside an object",
        ),
        pytest.param(
            says(fields={"title": TEXT}, mappings={"docs-1": {"_source": {"enabled": False}}}),
            "title",
            "policies.source",
            "problem",
            "docs-1 keeps no _source",
            id="no source",
        ),
        pytest.param(
            says(fields={"title": TEXT}, mappings={"docs-2": {"_source": {"excludes": ["t*"]}}}),
            "title",
            "policies.source",
            "hint",
            "docs-2",
            id="a part of the source",
        ),
        pytest.param(says(fields={"title": TEXT}), "title", "policies.source", "ok", "kept", id="all kept"),
    ],
)
def test_what_is_found_of_cluster_and_mappings(script, field, subject, level, said, look, cluster):
    cluster.script = script
    assert said in look(TOML.replace('"title"', f'"{field}"'))[subject, level]


@pytest.mark.parametrize(
    ("flags", "key", "said"),
    [
        pytest.param(
            {"cluster_url": "http://127.0.0.1:1"}, ("cluster.reachable", "problem"), "refused", id="gone"
        ),
        pytest.param({}, ("redis.reachable", "problem"), "refused", id="no Redis"),
        pytest.param({}, ("listeners.reach", "ok"), "this host only", id="loopback"),
        pytest.param(
            {"bind": "0.0.0.0:9201"}, ("listeners.keys", "hint"), "API_KEYS", id="open without keys"
        ),
        pytest.param(
            {"rerank_bind": "[::]:8080"},
            ("listeners.keys", "hint"),
            "[::]:8080",
            id="only the rerank APIs open",
        ),
        pytest.param(
            {"bind": "0.0.0.0:9201", "api_keys": "a"},
            ("listeners.keys", "ok"),
            "want a key",
            id="open with keys",
        ),
        pytest.param(
            {"bind": "0.0.0.0:9201", "cluster_username": "u", "cluster_password": "secret"},
            ("listeners.rights", "hint"),
            "rights",
            id="everybody's credentials",
        ),
        pytest.param(
            {"tls_cert": "none.pem"}, ("listeners.certificate", "problem"), "none.pem", id="no certificate"
        ),
    ],
)
def test_what_is_found_of_addresses(flags, key, said, look):
    found = look(**flags)
    assert said in found[key]
    assert "secret" not in str(found)


def test_credentials_that_are_refused_are_a_problem(look, cluster):
    cluster.script = says(status="401 Unauthorized")
    found = look(cluster_username="u", cluster_password="wrong")
    assert "--cluster-username" in found["cluster.credentials", "problem"]
    assert any(received.header("authorization") for received in cluster.received)


def test_each_node_is_looked_at(look, cluster):
    found = look(cluster_url=f"{cluster.url},http://127.0.0.1:1")
    assert {("cluster.reachable", "ok"), ("cluster.reachable", "problem")} <= set(found)


@pytest.mark.parametrize(("days", "level"), [(-1, "problem"), (5, "hint"), (200, "ok")])
def test_the_certificate_that_clients_are_shown_is_read(days, level, look, tmp_path):
    cert = trustme.CA().issue_cert("gateway", not_after=datetime.now(UTC) + timedelta(days=days, hours=1))
    path = tmp_path / "cert.pem"
    cert.private_key_and_cert_chain_pem.write_to_path(str(path))
    assert ("listeners.certificate", level) in look(tls_cert=path)


@pytest.mark.parametrize(("days", "level"), [(-1, None), (5, "hint"), (200, "ok")])
def test_the_clusters_certificate_is_read(days, level, look, tmp_path):
    authority, tls = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    not_after = datetime.now(UTC) + timedelta(days=days, hours=1)
    authority.issue_cert("127.0.0.1", not_after=not_after).configure_cert(tls)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with closing(ClusterDouble(tls=tls)) as double:
        double.script = says()
        found = look(cluster_url=double.url, cluster_ca=tmp_path / "ca.pem")
    if level:
        assert ("cluster.certificate", level) in found
    else:
        assert "expired" in found["cluster.reachable", "problem"]


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.0.1", True),
        ("[::1]", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("[::]", False),
        ("10.0.0.1", False),
        ("gateway", False),
    ],
)
def test_which_addresses_are_of_this_host_only(host, expected):
    assert is_loopback(f"{host}:9201") == expected


def run_doctor(*arguments):
    command = [sys.executable, "-m", "gateway", "doctor", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_what_does_not_answer_is_a_problem_soon(look, cluster, tmp_path):
    cluster.script = lambda received: time.sleep(30) or b""
    (tmp_path / "rerank.toml").write_text(TOML)
    flags = ["--cluster-url", cluster.url, "--config", str(tmp_path / "rerank.toml"), "--redis-url", NOWHERE]
    started = time.monotonic()
    with open_surroundings(read_settings(flags)) as around:
        found = examine(around, limit_s=1)
    assert time.monotonic() - started < 5
    assert ("cluster", "problem") in {(finding.subject, finding.level) for finding in found}


@pytest.mark.parametrize(
    ("arguments", "status"), [(["--json"], 1), ([], 1), (["--jsn"], 2), (["--help"], 0)], ids=str
)
def test_the_command_ends_with_a_status_for_scripts(arguments, status, tmp_path):
    (tmp_path / "rerank.toml").write_text(TOML)
    flags = ["--cluster-url", "http://127.0.0.1:1", "--config", str(tmp_path / "rerank.toml")]
    ended = run_doctor(*flags, "--redis-url", NOWHERE, *arguments)
    assert ended.returncode == status
    if arguments == ["--json"]:
        told = json.loads(ended.stdout)
        assert told["problem"] == 2
        assert {"subject", "level", "what", "mend"} == set(told["findings"][0])
    if status == 1:
        assert ended.stderr == ""


@pytest.mark.system
@pytest.mark.parametrize("node", ["opensearch"], indirect=True)
def test_a_real_engine_is_asked_for_a_field_that_no_document_has(node, look, redis_url):
    try:
        for name, keeps in (("docs-1", True), ("docs-2", False)):
            properties = {"title": {"type": "text", "fields": {"raw": {"type": "keyword"}}}}
            mappings = {"_source": {"enabled": keeps}, "properties": properties}
            urllib3.request("PUT", f"{node.url}/{name}", json={"mappings": mappings})
        toml = TOML.replace('"title"', '"title", "titel", "title.raw"')
        found = look(toml, redis_url, cluster_url=node.url)
        missing = look(TOML.replace('"title"', '"titel"'), redis_url, cluster_url=node.url)
    finally:
        urllib3.request("DELETE", f"{node.url}/docs-1,docs-2")
    assert "opensearch 3." in found["cluster.version", "ok"]
    assert "docs-1, docs-2" in found["policies.indices", "ok"]
    assert "docs-2 keeps no _source" in found["policies.source", "problem"]
    assert "name title" in found["policies.field", "problem"]
    assert "field title is of type text" in found["policies.field", "ok"]
    assert "titel is in no mapping" in missing["policies.field", "problem"]
