"""Clients of other rerank APIs reach us by a base URL and know no better."""

import json
import subprocess
from pathlib import Path

import pytest

from demo import settings
from tests.environments import prepare_environment
from tests.gateway.conftest import config, running_cluster  # noqa: F401  # fixtures
from tests.gateway.stub_worker import length_of_each, stub_worker
from tests.gateway.test_direct import KEY, gateway_with, sigmoid

pytestmark = pytest.mark.system

HERE = Path(__file__).parent
BEST = [["ccc", sigmoid(3.0)], ["bb", sigmoid(2.0)]]

CLIENTS = (
    "cohere_v1",
    "cohere_v2",
    "voyage",
    "voyage_without_top_k",
    "litellm_cohere",
    "litellm_vllm",
    "litellm_infinity",
    "litellm_jina",
    "litellm_huggingface",
    "langchain_cohere",
    "langchain_voyage",
    "langchain_jina",
    "llamaindex_cohere",
    "llamaindex_tei",
    "haystack_cohere",
    "haystack_tei",
)
ERRORS = {
    "cohere_without_key": "a valid key is needed",
    "cohere_unknown_model": "'nobody' is not declared",
    "voyage_unknown_model": "'nobody' is not declared",
}


@pytest.fixture(scope="module")
def python():
    """The interpreter of the clients' environment."""
    return prepare_environment(settings.ROOT / "var" / "rerank-clients", HERE / "requirements.txt")


@pytest.fixture(scope="module")
def url(running_cluster, config, redis_url):  # noqa: F811
    with (
        stub_worker(redis_url, length_of_each),
        gateway_with(running_cluster, config, redis_url, api_keys=KEY) as (api, _),
    ):
        yield f"http://127.0.0.1:{api.port}"


@pytest.fixture(scope="module")
def answers(python, url):
    """What the clients got, each; they are asked in one process, since some take seconds to import."""
    command = [str(python), str(HERE / "ask.py"), url, KEY, *CLIENTS, *ERRORS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_of_another_api_gets_its_texts_reranked(answers, client):
    assert answers[client] == BEST


@pytest.mark.parametrize(("client", "told"), ERRORS.items())
def test_a_client_tells_its_user_what_is_wrong(answers, client, told):
    assert told in answers[client]


@pytest.mark.parametrize(
    "paths",
    [
        pytest.param(["--exclude-path-regex", "score"], id="documents"),
        # that the two lists' lengths must fit is more than a schema can say
        pytest.param(
            ["--include-path-regex", "score", "--exclude-checks", "positive_data_acceptance"], id="score"
        ),
    ],
)
def test_the_document_of_the_api_is_true(python, url, paths, tmp_path):
    """Hundreds of requests, in and against the document."""
    command = [str(python.parent / "schemathesis"), "run", f"{url}/openapi.json", *paths]
    options = ["--header", f"Authorization: Bearer {KEY}", "--max-examples", "40", "--seed", "1"]
    phases = ["--phases", "coverage,fuzzing"]
    done = subprocess.run(
        [*command, *options, *phases], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout[-5000:]
