"""What an operator can set, and that each mistake is named."""

import pytest

from worker.errors import ConfigError
from worker.settings import ENV_PREFIX, read_models, read_settings

POLICIES = '[[policies]]\nname = "wine"\nwhatever = 3\n'


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def model_folder(tmp_path):
    folder = tmp_path / "models" / "small"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    return folder


def write_config(text):
    with open("rerank.toml", "w") as file:
        file.write(text)


@pytest.mark.parametrize(
    ("argv", "environ", "expected"),
    [
        pytest.param([], {}, {"concurrency": 64, "models": ()}, id="defaults"),
        pytest.param(["--models", "a,b"], {}, {"models": ("a", "b")}, id="comma list"),
        pytest.param(["--models", "a", "--models", "b"], {}, {"models": ("a", "b")}, id="repeated flag"),
        pytest.param(
            [], {"MODELS": "a, b, a"}, {"models": ("a", "b")}, id="list in the environment, once each"
        ),
        pytest.param(
            [],
            {"SERVICE_HOST": "10.0.0.7", "PORT": "tcp://10.0.0.7:80"},
            {"models": ()},
            id="Kubernetes's own",
        ),
        pytest.param(
            ["--concurrency=3"], {"CONCURRENCY": "5"}, {"concurrency": 3}, id="flag over environment"
        ),
        pytest.param(
            ["--redis-url", "rediss://r:1/2"],
            {},
            {"redis_url": "rediss://r:1/2"},
            id="encrypted redis",
        ),
    ],
)
def test_options_come_from_flags_then_environment(argv, environ, expected, monkeypatch):
    for name, value in environ.items():
        monkeypatch.setenv(ENV_PREFIX + name, value)
    settings = read_settings(argv)
    assert {name: getattr(settings, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("argv", "environ", "named"),
    [
        pytest.param(["--bogus", "1"], {}, "--bogus", id="unknown flag"),
        pytest.param([], {"BOGUS": "1"}, "RERANK_WORKER_BOGUS", id="unknown variable"),
        pytest.param(["--concurrency", "0"], {}, "--concurrency", id="too small"),
        pytest.param([], {"PORT": "1"}, "RERANK_WORKER_PORT", id="no link of Kubernetes"),
        pytest.param([], {"CONCURRENCY": "many"}, "RERANK_WORKER_CONCURRENCY", id="no number"),
        pytest.param(["--redis-url", "http://r"], {}, "--redis-url", id="not a redis"),
        pytest.param(["--models", "a,/b"], {}, "--models", id="a path as alias"),
        pytest.param(["--log-level", "LOUD"], {}, "--log-level", id="no level"),
    ],
)
def test_a_wrong_option_is_named_in_one_line(argv, environ, named, monkeypatch):
    for name, value in environ.items():
        monkeypatch.setenv(ENV_PREFIX + name, value)
    with pytest.raises(ConfigError) as caught:
        read_settings(argv)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wrong_redis_url_is_not_quoted():
    """It may hold a password."""
    with pytest.raises(ConfigError) as caught:
        read_settings(["--redis-url", "http://:secret@r"])
    assert "secret" not in str(caught.value)


def test_help_tells_every_option(capsys):
    with pytest.raises(SystemExit) as caught:
        read_settings(["--help"])
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    for option in (
        "--redis-url",
        "--config",
        "--models",
        "--concurrency",
        "--pass-ms",
        "--pass-limit-s",
        "--silence-limit-s",
        "--metrics-port",
        "--cache-ttl-s",
        "--cache-queries",
        "--log-level",
    ):
        assert option in printed


@pytest.mark.parametrize(
    ("argv", "aliases"),
    [
        pytest.param([], ["a", "b"], id="all declared"),
        pytest.param(["--models", "b"], ["b"], id="those asked for"),
    ],
)
def test_models_are_read_from_the_file_and_policies_left_alone(model_folder, argv, aliases):
    write_config(
        f'{POLICIES}[models.a]\npath = "{model_folder}"\nmax_length = 64\n[models.b]\npath = "o/n"\n'
    )
    assert list(read_models(read_settings(argv))) == aliases


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param("models/small", "{here}/models/small", id="beside the file"),
        pytest.param("./models/small", "{here}/models/small", id="beside the file, dotted"),
        pytest.param("{here}/models/small", "{here}/models/small", id="absolute"),
        pytest.param("BAAI/bge-reranker-v2-m3", "BAAI/bge-reranker-v2-m3", id="on the hub"),
    ],
)
def test_a_folder_is_found_from_the_file_and_a_hub_name_stays(
    model_folder, tmp_path, path, expected, monkeypatch
):
    write_config(f'[models.a]\npath = "{path.format(here=tmp_path)}"\n')
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    models = read_models(read_settings(["--config", "../rerank.toml"]))
    found = models["a"].path.replace("/elsewhere/..", "")
    assert found == expected.format(here=tmp_path)


@pytest.mark.parametrize(
    ("text", "argv", "named"),
    [
        pytest.param(None, [], "--config", id="no file"),
        pytest.param("models = [", [], "rerank.toml", id="not TOML"),
        pytest.param(POLICIES, [], "models", id="no models"),
        pytest.param('[models.a]\npath = "o/n"\n', ["--models", "b"], "--models", id="undeclared alias"),
        pytest.param('[models.a]\npath = "o/n"\nbogus = 1\n', [], "models.a.bogus", id="unknown option"),
        pytest.param('[models.a]\npath = "o/n"\nmax_length = 0\n', [], "models.a.max_length", id="too small"),
        pytest.param("[models.a]\n", [], "models.a: Value error, path: expected", id="no path"),
        pytest.param('[models.a]\npath = "o/n"\nversions = "v"\n', [], "models.a", id="path and versions"),
        pytest.param('[models.a]\nversions = "v"\n', [], "models.a.versions", id="no folder of versions"),
        pytest.param('[models.a]\npath = "o/n"\npinned = ["v1"]\n', [], "pinned", id="no versions to pin"),
        pytest.param('[models."a@v1"]\npath = "o/n"\n', [], "models.a@v1", id="a version as alias"),
        pytest.param('[models.a]\npath = "o/n"\n', ["--models", "a@v1"], "a@v1", id="no versions to name"),
        pytest.param('[models."a/b"]\npath = "o/n"\n', [], "models.a/b", id="alias that is none"),
        pytest.param('[model.a]\npath = "o/n"\n', [], "model", id="misspelt table"),
        pytest.param('[models.a]\npath = "/nowhere"\n', [], "models.a.path", id="no folder"),
        pytest.param('[models.a]\npath = "models"\n', [], "models.a.path", id="folder of something else"),
        pytest.param(
            '[models.a]\npath = "o/n"\npeft_path = "./models/small"\n',
            [],
            "models.a.peft_path",
            id="adapter folder without adapter",
        ),
    ],
)
def test_a_wrong_file_is_named_with_the_place_in_one_line(model_folder, text, argv, named):
    if text is not None:
        write_config(text)
    with pytest.raises(ConfigError) as caught:
        read_models(read_settings(argv))
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)
