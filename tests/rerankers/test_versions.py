"""A folder of versions: what was added stays, one is live, and nobody ever finds a half of anything."""

import json
import subprocess
import sys
import threading
from itertools import cycle, islice, pairwise

import pytest

from rerankers import BadVersion, Versions


@pytest.fixture
def make_model(tmp_path):
    """``make_model(weights)``: the folder of something that looks like a model."""

    def make(weights, config="config.json", **more):
        folder = tmp_path / f"trained-{weights}-{config}"
        (folder / "checkpoint-10").mkdir(parents=True)
        (folder / "checkpoint-10" / "model.safetensors").write_text("of a training")
        (folder / ".cache").write_text("hidden")
        (folder / config).write_text(json.dumps(more))
        (folder / "model.safetensors").write_text(weights)
        return folder

    return make


@pytest.fixture
def versions(tmp_path):
    return Versions(tmp_path / "versions")


@pytest.fixture
def two(versions, make_model):
    """A folder with the versions v1, live, and v2."""
    for name in ("v1", "v2"):
        versions.add(make_model(name), name)
    versions.promote("v1")
    return versions


def damage(versions, name):
    file = versions.locate(name) / "model.safetensors"
    file.chmod(0o644)
    file.write_text("other")


def test_a_version_is_a_copy_with_hashes_and_what_is_said_of_it(versions, make_model):
    source = make_model("weights")
    added = versions.add(source, "v1", metadata={"ndcg@10": 0.61})
    (source / "model.safetensors").write_text("trained on")
    folder = versions.locate("v1")
    assert (folder / "model.safetensors").read_text() == "weights"
    assert sorted(file.name for file in folder.iterdir()) == [
        "config.json",
        "model.safetensors",
        "version.json",
    ]
    assert versions.find("v1") == added
    assert (added.source, added.base, added.metadata) == (str(source), None, {"ndcg@10": 0.61})
    assert versions.verify("v1") == []


def test_a_version_without_a_name_is_called_by_its_content(versions, make_model):
    one, other = versions.add(make_model("a")).name, versions.add(make_model("b")).name
    assert one != other
    assert versions.names() == [one, other]
    with pytest.raises(BadVersion, match=f"there is a version {one} already"):
        versions.add(make_model("a", "adapter_config.json").parent / "trained-a-config.json")


def test_an_adapter_keeps_its_base_wherever_it_is_loaded_from(versions, make_model, monkeypatch):
    base = make_model("base")
    adapter = make_model("lora", "adapter_config.json", base_model_name_or_path=f"./{base.name}")
    monkeypatch.chdir(base.parent)
    assert versions.add(adapter, "v1").base == str(base)
    config = json.loads((versions.locate("v1") / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(base)
    assert versions.verify("v1") == []
    assert versions.add(adapter, "v2", base="owner/name").base == "owner/name"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        pytest.param(lambda f: (f / "model.safetensors").write_text("weightz"), "has changed", id="a byte"),
        pytest.param(lambda f: (f / "model.safetensors").unlink(), "is missing", id="a file less"),
        pytest.param(lambda f: (f / "more.json").write_text("{}"), "was not added", id="a file more"),
    ],
)
def test_what_has_changed_is_found_and_not_promoted(two, change, told):
    (two.locate("v2") / "model.safetensors").chmod(0o644)
    change(two.locate("v2"))
    assert told in "".join(two.verify("v2"))
    with pytest.raises(BadVersion, match=told):
        two.promote("v2")
    assert two.live == "v1"


def test_rollback_goes_back_step_by_step(two, make_model):
    two.add(make_model("v3"), "v3")
    for name in ("v2", "v3"):
        two.promote(name)
    assert [two.rollback(), two.live] == ["v2", "v2"]
    assert [two.rollback(), two.live] == ["v1", "v1"]
    with pytest.raises(BadVersion, match="no version was live before v1"):
        two.rollback()
    two.promote("v3")
    assert two.before == "v1"
    assert [change.by for change in two.history()] == ["promote"] * 3 + ["rollback"] * 2 + ["promote"]


def test_rollback_leaps_over_what_was_removed_and_refuses_what_was_changed(two, make_model):
    two.add(make_model("v3"), "v3")
    for name in ("v2", "v3"):
        two.promote(name)
    two.remove("v2")
    damage(two, "v1")
    with pytest.raises(BadVersion, match="has changed"):
        two.rollback()
    assert two.live == "v3"


def test_a_version_whose_description_is_damaged_stands_in_no_other_ones_way(two):
    two.promote("v2")
    two.add(two.locate("v1"), "v3")
    (two.locate("v3") / "version.json").write_text("{")
    assert two.rollback() == "v1"
    two.promote("v2")
    with pytest.raises(BadVersion, match=r"v3/version.json: damaged"):
        two.promote("v3")
    two.remove("v3")
    assert two.names() == ["v1", "v2"]


@pytest.mark.parametrize(
    ("do", "told"),
    [
        pytest.param(lambda v, m: v.add(m("x").parent, "v9"), "has neither config.json nor", id="no model"),
        pytest.param(lambda v, m: v.add(m("x"), "../x"), "expected letters", id="a path as name"),
        pytest.param(lambda v, m: v.add(m("x"), "v1"), "there is a version v1 already", id="a name taken"),
        pytest.param(lambda v, m: v.add(m("x"), "v9", base="o/n"), "no adapter", id="a base for a model"),
        pytest.param(lambda v, m: v.add(m("x", "adapter_config.json")), "names no base", id="without base"),
        pytest.param(
            lambda v, m: v.add(m("x", "adapter_config.json", base_model_name_or_path="/gone")),
            "/gone is no folder",
            id="a base that is gone",
        ),
        pytest.param(lambda v, m: v.promote("v9"), "no version 'v9'; there are: v1, v2", id="unknown"),
        pytest.param(lambda v, m: v.promote("../v1"), "has no version", id="outside the folder"),
        pytest.param(lambda v, m: v.remove("v1"), "v1 is live", id="removing the live one"),
        pytest.param(lambda v, m: v.rollback(), "no version was live before v1", id="nothing before"),
    ],
)
def test_what_can_not_be_done_is_told_and_changes_nothing(two, make_model, do, told):
    with pytest.raises(BadVersion, match=told):
        do(two, make_model)
    assert (two.live, two.names()) == ("v1", ["v1", "v2"])
    assert not [*two.folder.glob(".adding-*")]


def test_several_at_once_lose_no_promotion_and_readers_find_a_live_one(two):
    ended, seen = threading.Event(), set()

    def read():
        while not ended.is_set():
            seen.add(two.live)

    def promote(names):
        for name in names:
            Versions(two.folder).promote(name)

    reader = threading.Thread(target=read)
    reader.start()
    turns = [islice(cycle(names), 20) for names in (("v1", "v2"), ("v2", "v1"))]
    writers = [threading.Thread(target=promote, args=(names,)) for names in turns]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    ended.set()
    reader.join()
    live = [change.version for change in two.history()]
    assert seen <= {"v1", "v2"}
    # a version is noted only when it was not live: the two take turns where no change was lost
    assert all(before != after for before, after in pairwise(live))
    assert two.live == live[-1]


def test_the_command_adds_promotes_and_rolls_back(tmp_path, make_model):
    folder = str(tmp_path / "versions")

    def run(*words):
        command = [sys.executable, "-m", "rerankers", "versions", *words]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
        return ended.returncode, ended.stdout + ended.stderr

    figures = tmp_path / "figures.json"
    figures.write_text('{"mrr@10": 0.5}')
    added = ("add", folder, str(make_model("a")), "--name", "v1", "--metadata")
    assert run(*added, "ndcg@10=0.61", str(figures)) == (0, "v1\n")
    Versions(folder).add(make_model("b"), "v2")
    assert run("promote", folder, "v1") == (0, "live: v1\n")
    assert run("promote", folder, "v2") == (0, "live: v2 (before: v1)\n")
    assert run("rollback", folder) == (0, "live: v1 (before: v2)\n")
    code, told = run("list", folder)
    assert code == 0
    assert next(line.split()[:2] for line in told.splitlines()) == ["*", "v1"]
    assert "ndcg@10=0.61  mrr@10=0.5" in told
    damage(Versions(folder), "v2")
    code, told = run("verify", folder)
    assert code == 1
    assert "v2: model.safetensors: has changed" in told
