"""How a model becomes resident, and what its version tells."""

import json
import shutil

import pytest

from tests.rerankers.conftest import MINICPM, save_layered_model
from worker.errors import ModelError
from worker.resident import load_model
from worker.settings import ModelSettings


@pytest.fixture
def folder(reranker_folder, tmp_path):
    """A copy of the tiny reranker that a test may change."""
    return shutil.copytree(reranker_folder, tmp_path / "model")


def load(folder, **options):
    return load_model("m", ModelSettings(path=str(folder), **{"devices": "cpu", "max_length": 64} | options))


def test_a_loaded_model_scores(folder):
    model = load(folder)
    assert model.alias == "m"
    assert len(model.scorer.compute_score([("how to", "delete a folder"), ("how to", "sort list")])) == 2


def test_a_layered_model_scores_at_the_layer_of_the_settings(tmp_path):
    """As a list of numbers, like every other model; another layer is another version."""
    save_layered_model(tmp_path, MINICPM)
    pairs = [("how to", "delete a folder"), ("how to", "sort list")]
    early, last = (load(tmp_path, cutoff_layers=layer) for layer in (2, 4))
    assert all(isinstance(score, float) for score in early.scorer.compute_score(pairs))
    assert early.scorer.compute_score(pairs) != last.scorer.compute_score(pairs)
    assert early.version != last.version


def edit_config(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"layer_norm_eps": 1e-6}))


def edit_weights(folder):
    """Change one byte in the middle: neither size nor ends tell."""
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[len(weights) // 2] ^= 1
    (folder / "model.safetensors").write_bytes(weights)


@pytest.mark.parametrize(
    ("edit", "options", "is_same"),
    [
        pytest.param(None, {}, True, id="a copy elsewhere"),
        pytest.param(lambda folder: (folder / "README.md").write_text("hi"), {}, True, id="a text beside it"),
        pytest.param(None, {"revision": "v1"}, True, id="how a commit is called"),
        pytest.param(None, {"batch_size": 2}, True, id="an option that changes no score"),
        pytest.param(None, {"max_length": 32}, False, id="an option that changes scores"),
        pytest.param(edit_config, {}, False, id="configuration"),
        pytest.param(edit_weights, {}, False, id="weights"),
    ],
)
def test_the_version_changes_when_scores_may(reranker_folder, folder, edit, options, is_same):
    if edit:
        edit(folder)
    assert (load(folder, **options).version == load(reranker_folder).version) is is_same


@pytest.mark.parametrize(
    ("edit", "options"),
    [
        pytest.param(
            lambda folder: (folder / "model.safetensors").write_bytes(b"no weights"), {}, id="weights"
        ),
        pytest.param(
            lambda folder: (folder / "config.json").write_text('{"model_type": "gpt2"}'),
            {},
            id="not a reranker",
        ),
        pytest.param(None, {"devices": "warp:0"}, id="device"),
        pytest.param(None, {"model_class": "decoder-only-layerwise"}, id="family"),
    ],
)
def test_a_model_that_can_not_be_loaded_is_named_in_one_line(folder, edit, options):
    if edit:
        edit(folder)
    with pytest.raises(ModelError) as caught:
        load(folder, **options)
    assert str(caught.value).startswith("models.m: can't load ")
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)
