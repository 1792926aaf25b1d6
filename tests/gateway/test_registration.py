"""What `register` and `unregister` send for what is there, and what they tell who uses them wrongly."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from gateway.commands import register, unregister
from gateway.registration.bodies import make_connector, make_group, make_model, make_pipeline, read_salt
from gateway.registration.listener import find_private
from gateway.registration.options import RegisterSettings
from gateway.registration.plan import Wanted, plan_register, plan_unregister
from gateway.registration.present import PRIVATE, TRUSTED, Present, Thing
from gateway.registration.talk import CannotRegister
from tests.gateway.doubles import ClusterDouble, answer

URL = "http://10.0.0.7:8080"
COHERE = r"^https://api\.cohere\.ai/.*$"
ALL = "trusted-endpoint,private-address"
NOTHING = Present(
    settings={}, overruling={}, defaults={TRUSTED: [COHERE], PRIVATE: "false"}, defaults_of={"books": ""}
)


def ask_for(**more):
    options = {
        "url": URL,
        "model": "demo",
        "document_fields": "title, body",
        "pipeline": "books",
        "allow": ALL,
    }
    return RegisterSettings(**{**options, **more})


def make_wanted(is_private=True, **more):
    return Wanted(ask_for(**more), is_private)


def make_present(wanted, state="DEPLOYED", **more):
    """A cluster where all of it is there."""
    options = wanted.options
    settings = list_calls(plan_register(wanted, NOTHING))[0].body["persistent"]
    there = Present(
        settings=settings,
        overruling={},
        defaults={},
        connector=Thing("c1", make_connector(options, "5a17")),
        group=Thing("g1", make_group(options.pipeline)),
        model=Thing("m1", {**make_model(options.pipeline, "g1", "c1"), "model_state": state}),
        pipeline=make_pipeline(options, "m1"),
        defaults_of={"books": options.pipeline if options.index else ""},
    )
    return replace(there, **more)


def list_calls(steps):
    return [call for step in steps for call in step.calls]


def list_lines(steps):
    return [f"{call.method} {call.path}" for call in list_calls(steps)]


ML = "/_plugins/_ml"
SETTINGS, UNDEPLOY, DEPLOY = (
    "PUT /_cluster/settings",
    f"POST {ML}/models/m1/_undeploy",
    f"POST {ML}/models/m1/_deploy",
)
CONNECT, PIPELINE = f"PUT {ML}/connectors/c1", "PUT /_search/pipeline/books"
EVERYTHING = [
    SETTINGS,
    f"POST {ML}/connectors/_create",
    f"POST {ML}/model_groups/_register",
    f"POST {ML}/models/_register",
    f"POST {ML}/models/<model_id>/_deploy",
    PIPELINE,
]


@pytest.mark.parametrize(
    ("present", "lines"),
    [
        pytest.param(NOTHING, EVERYTHING, id="nothing is there"),
        pytest.param(make_present(make_wanted()), [], id="all is there"),
        pytest.param(make_present(make_wanted(), state="UNDEPLOYED"), [DEPLOY], id="somebody undeployed it"),
        pytest.param(
            make_present(make_wanted(), settings={}),
            [SETTINGS, UNDEPLOY, DEPLOY],
            id="a deployment keeps old settings",
        ),
        pytest.param(make_present(make_wanted(api_key="old")), [UNDEPLOY, CONNECT, DEPLOY], id="another key"),
        pytest.param(make_present(make_wanted(model="old")), [UNDEPLOY, CONNECT, DEPLOY], id="another model"),
        pytest.param(
            make_present(make_wanted(timeout_s=3)), [UNDEPLOY, CONNECT, DEPLOY], id="another timeout"
        ),
        pytest.param(
            make_present(make_wanted(url="http://10.0.0.8:1")),
            [SETTINGS, UNDEPLOY, CONNECT, DEPLOY],
            id="moved",
        ),
        pytest.param(make_present(make_wanted(document_fields="body")), [PIPELINE], id="other fields"),
        pytest.param(make_present(make_wanted(ignore_failure=False)), [PIPELINE], id="another way to fail"),
        pytest.param(
            replace(make_present(make_wanted()), connector=None),
            [UNDEPLOY, f"POST {ML}/connectors/_create", f"PUT {ML}/models/m1", DEPLOY],
            id="a model without its connector",
        ),
    ],
)
def test_register_changes_what_differs(present, lines):
    assert list_lines(plan_register(make_wanted(), present)) == lines


def test_an_index_gets_the_default_only_if_asked():
    """And no second time."""
    wanted = make_wanted(index="books")
    calls = list_calls(plan_register(wanted, make_present(make_wanted())))
    assert [(call.path, call.body) for call in calls] == [
        ("/books/_settings", {"index.search.default_pipeline": "books"})
    ]
    assert list_calls(plan_register(wanted, make_present(wanted))) == []


@pytest.mark.parametrize(
    ("wanted", "present", "words"),
    [
        pytest.param(make_wanted(allow=""), NOTHING, ("trusted-endpoint", "private-address"), id="both"),
        pytest.param(make_wanted(allow="trusted-endpoint"), NOTHING, ("private-address",), id="one was said"),
        pytest.param(make_wanted(False, allow=""), NOTHING, ("trusted-endpoint",), id="a public address"),
        pytest.param(
            make_wanted(None, allow=""), NOTHING, ("trusted-endpoint",), id="an address unknown here"
        ),
        pytest.param(
            make_wanted(allow=""),
            replace(NOTHING, settings={TRUSTED: ["^http://10[.]0[.]0[.]7:.*$"], PRIVATE: "true"}),
            (),
            id="the operator has set it",
        ),
        pytest.param(
            make_wanted(allow=""),
            replace(NOTHING, settings={TRUSTED: ["^http://10[.]0[.]0[.]7:8080"], PRIVATE: "true"}),
            ("trusted-endpoint",),
            id="a pattern must match the whole address",
        ),
        pytest.param(
            make_wanted(allow=""),
            replace(NOTHING, overruling={PRIVATE: "true"}),
            ("trusted-endpoint",),
            id="a transient setting counts",
        ),
    ],
)
def test_loosening_a_protection_needs_a_word(wanted, present, words):
    (needs,) = [step.needs for step in plan_register(wanted, present) if step.part == "cluster settings"]
    assert needs == words


def test_a_private_address_unknown_here_is_allowed_on_demand():
    """A container's name resolves in the cluster's network only."""
    (call, *_) = list_calls(plan_register(make_wanted(None), NOTHING))
    assert call.body["persistent"][PRIVATE] == "true"


OTHERS = {"description": "Ours since 2023", "response_processors": []}


@pytest.mark.parametrize(
    ("present", "told"),
    [
        pytest.param(
            replace(NOTHING, pipeline=OTHERS), "--pipeline: .* books that is not ours", id="pipeline"
        ),
        pytest.param(
            replace(NOTHING, defaults_of={"books": "theirs"}), "--index: books .* theirs", id="default"
        ),
        pytest.param(replace(NOTHING, overruling={TRUSTED: []}), "transient", id="a setting that overrules"),
    ],
)
def test_register_leaves_what_is_others(present, told):
    with pytest.raises(CannotRegister, match=told):
        plan_register(make_wanted(index="books"), present)


WANTED = make_wanted(index="books")
UNDO = [
    "PUT /books/_settings",
    "DELETE /_search/pipeline/books",
    UNDEPLOY,
    f"DELETE {ML}/models/m1",
    f"DELETE {ML}/model_groups/g1",
    f"DELETE {ML}/connectors/c1",
]


@pytest.mark.parametrize(
    ("present", "lines"),
    [
        pytest.param(make_present(WANTED), [*UNDO, SETTINGS], id="all"),
        pytest.param(
            make_present(WANTED, other_urls=[f"{URL}/v1/rerank"]), UNDO, id="another needs the settings"
        ),
        pytest.param(NOTHING, [], id="nothing is there"),
        pytest.param(
            replace(NOTHING, pipeline=OTHERS, defaults_of={"books": "books"}), [], id="others' pipeline"
        ),
        pytest.param(
            replace(NOTHING, settings={TRUSTED: [COHERE, f"^{URL}/.*$"], PRIVATE: "true"}),
            [],
            id="others' settings",
        ),
        pytest.param(
            replace(NOTHING, settings=make_present(WANTED).settings),
            [SETTINGS],
            id="stopped before the settings",
        ),
        pytest.param(
            make_present(WANTED, defaults_of={"films": "theirs"}), [*UNDO[1:], SETTINGS], id="others' default"
        ),
    ],
)
def test_unregister_takes_back_what_register_made(present, lines):
    assert list_lines(plan_unregister("books", present)) == lines


@pytest.mark.parametrize(
    "before", [{}, {TRUSTED: [], PRIVATE: "false"}, {TRUSTED: [COHERE]}, {PRIVATE: "true"}]
)
def test_settings_go_back_to_what_they_were(before):
    """Two registrations, one after the other, both taken back."""
    present = replace(NOTHING, settings=before, other_urls=["http://10.0.0.1:8080/v1/rerank"])
    for number in (1, 2):
        wanted = make_wanted(url=f"http://10.0.0.{number}:8080")
        (call, *_) = list_calls(plan_register(wanted, present))
        present = replace(present, settings=put(present.settings, call.body["persistent"]))
    for left in (["http://10.0.0.1:8080/v1/rerank"], []):
        (call,) = list_calls(plan_unregister("books", replace(present, other_urls=left)))
        present = replace(present, settings=put(present.settings, call.body["persistent"]))
    assert present.settings == before


def test_an_address_moved_away_from_is_trusted_no_more():
    (call, *_) = list_calls(plan_register(make_wanted(), make_present(make_wanted(url="http://10.0.0.8:1"))))
    assert call.body["persistent"][TRUSTED] == [COHERE, r"^http://10\.0\.0\.7:8080/v1/rerank$"]


def test_what_others_set_meanwhile_stays():
    settings = make_present(WANTED).settings
    settings = {**settings, TRUSTED: [*settings[TRUSTED], "^https://theirs$"], PRIVATE: "false"}
    (call,) = list_calls(plan_unregister("books", replace(NOTHING, settings=settings)))
    assert put(settings, call.body["persistent"]) == {TRUSTED: [COHERE, "^https://theirs$"], PRIVATE: "false"}


def put(settings, changes):
    """As the cluster does: null removes."""
    return {name: value for name, value in {**settings, **changes}.items() if value is not None}


def test_a_key_is_told_from_others_without_being_told():
    """In letters that ml-commons takes."""
    described = make_connector(ask_for(api_key="sesame"), "5a17")["description"]
    assert "sesame" not in described
    assert read_salt(described) == "5a17"
    assert described != make_connector(ask_for(api_key="other"), "5a17")["description"]
    assert re.fullmatch(r"[A-Za-z0-9 .,!?():@\-_'/\"]*", described)


@pytest.mark.parametrize(
    ("url", "is_private"),
    [
        ("http://127.0.0.1:8080", True),
        ("http://192.168.3.4:8080/_rerank", True),
        ("https://[fd00::1]:8080", True),
        ("https://9.9.9.9", False),
        ("http://172.32.0.1", False),
        ("http://gateway.invalid:8080", None),
    ],
)
def test_find_private(url, is_private):
    assert find_private(url) is is_private


# --- the commands


@pytest.fixture
def listener():
    """A rerank API of ours that knows the model `demo` and the key `sesame`."""
    double = ClusterDouble()

    def script(received):
        if received.target == "/v1/models":
            return answer(b'{"data": [{"id": "demo", "served": true}]}')
        is_let_in = received.header("authorization") == "Bearer sesame"
        return answer(b"{}", "400 Bad Request" if is_let_in else "401 Unauthorized")

    double.script = script
    yield double
    double.close()


def tell_nothing(received):
    """A cluster where nothing of it is there."""
    path = received.target.partition("?")[0]
    if path.startswith("/_search/pipeline/"):
        return answer(b"{}", "404 Not Found")
    if path == "/_nodes/search_pipelines":
        rerank = {"search_pipelines": {"response_processors": [{"type": "rerank"}]}}
        return answer(json.dumps({"nodes": {"n": rerank}}).encode())
    if path == "/_cluster/settings":
        return answer(json.dumps({"persistent": {}, "transient": {}, "defaults": {TRUSTED: []}}).encode())
    return answer(b"{}" if "/_settings/" in path else b'{"hits": {"hits": []}}')


def run(cluster, url, *flags, key="sesame"):
    common = ["--cluster-url", cluster.url, "--url", url, "--api-key", key, "--pipeline", "books"]
    return register.main([*common, "--model", "demo", "--document-fields", "title", *flags], "register")


def test_without_apply_nothing_is_changed_and_no_secret_told(cluster, listener, capsys):
    cluster.script = tell_nothing
    assert run(cluster, listener.url) == 0
    told = capsys.readouterr().out
    assert "needs --allow trusted-endpoint,private-address" in told
    assert "PUT /_search/pipeline/books" in told
    assert "sesame" not in told
    assert {one.method for one in cluster.received if "/_search" not in one.target} <= {"GET", "HEAD"}


def test_apply_without_the_words_changes_nothing(cluster, listener, capsys):
    cluster.script = tell_nothing
    assert run(cluster, listener.url, "--apply", "--allow", "private-address") == 1
    assert "--allow trusted-endpoint\n" in capsys.readouterr().err
    assert {one.method for one in cluster.received if "/_search" not in one.target} <= {"GET", "HEAD"}


def refuse(status, reason):
    body = json.dumps({"error": {"reason": reason}, "status": status}).encode()
    return lambda received: answer(body, f"{status} Refused")


@pytest.mark.parametrize(
    ("script", "told"),
    [
        pytest.param(
            lambda _: answer(
                b'{"error":"no handler found for uri [/_plugins/_ml/x] and method [POST]"}', "400 Bad"
            ),
            "no ML Commons",
            id="no plugin",
        ),
        pytest.param(refuse(401, "Unauthorized"), "--cluster-username", id="unknown user"),
        pytest.param(refuse(403, "no permissions for [cluster:x]"), r"rights.*cluster:x", id="no rights"),
        pytest.param(refuse(503, "no leader"), "503: no leader", id="ill"),
        pytest.param(lambda _: answer(b"<html>"), "no JSON", id="no cluster"),
        pytest.param(
            lambda one: (
                tell_nothing(one)
                if "_nodes" not in one.target
                else answer(b'{"nodes":{"n":{"search_pipelines":{"response_processors":[{"type":"sort"}]}}}}')
            ),
            "opensearch-neural-search",
            id="no processor",
        ),
    ],
)
def test_what_the_cluster_lacks_is_told(cluster, listener, capsys, script, told):
    cluster.script = lambda one: answer() if one.method == "HEAD" else script(one)
    assert run(cluster, listener.url) == 1
    assert re.search(told, capsys.readouterr().err)


@pytest.mark.parametrize(
    ("flags", "key", "told"),
    [
        pytest.param(
            ["--model", "other"],
            "sesame",
            "--model: 'other' is not declared there; declared: demo",
            id="model",
        ),
        pytest.param([], "wrong", "--api-key: the rerank API refuses it", id="key"),
        pytest.param(["--url", "CLUSTER"], "sesame", "does not answer as our rerank APIs do", id="not ours"),
    ],
)
def test_what_the_rerank_api_lacks_is_told_before_anything_is_sent(
    cluster, listener, capsys, flags, key, told
):
    cluster.script = tell_nothing
    flags = [cluster.url if flag == "CLUSTER" else flag for flag in flags]
    assert run(cluster, listener.url, *flags, key=key) == 1
    assert told in capsys.readouterr().err


def test_a_rerank_api_that_only_the_cluster_reaches_is_no_error(cluster, capsys):
    cluster.script = tell_nothing
    assert run(cluster, "http://gateway.invalid:8080") == 0
    assert "not reached from here" in capsys.readouterr().out


def test_for_elasticsearch_the_requests_are_shown(cluster, capsys):
    cluster.script = lambda one: answer(b"{}", headers=["X-Elastic-Product: Elasticsearch"])
    assert run(cluster, URL) == 0
    told = capsys.readouterr().out
    inference = json.loads(told.split("PUT /_inference/rerank/books\n")[1].split("\n#")[0])
    assert inference["service_settings"]["url"] == f"{URL}/v1/rerank"
    assert json.loads(
        inference["service_settings"]["request"].replace("${query}", "1").replace("${input}", "[]")
    )
    assert '"inference_id": "books"' in told
    assert "sesame" not in told
    assert run(cluster, URL, "--apply") == 1


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        pytest.param(["--url", "gateway:8080"], "--url", id="no scheme"),
        pytest.param(["--url", "http://user:pw@gateway"], "--url", id="credentials in the address"),
        pytest.param(["--allow", "everything"], "--allow", id="not a word"),
        pytest.param(["--document-fields", ","], "--document-fields", id="no field"),
        pytest.param(["--index", "books-*"], "--index", id="a pattern"),
        pytest.param(["--pipeline", "_all"], "--pipeline", id="a name with a meaning"),
        pytest.param(["--timeout-s", "0"], "--timeout-s", id="no time"),
    ],
)
def test_a_wrong_option_is_named(cluster, capsys, flags, told):
    assert run(cluster, URL, *flags) == 2
    assert told in capsys.readouterr().err
    assert cluster.received == []


def test_variables_of_register_do_not_disturb_unregister(cluster, monkeypatch):
    cluster.script = tell_nothing
    monkeypatch.setenv("RERANK_GATEWAY_API_KEY", "sesame")
    monkeypatch.setenv("RERANK_GATEWAY_CLUSTER_URL", cluster.url)
    assert unregister.main([], "unregister") == 0
