"""What a Redis URL says, and that redis-py and Celery are told the same."""

import pytest
from celery import Celery

from worker.contract.address import RedisAddress

TLS = {"ssl_cert_reqs": "required", "ssl_check_hostname": True}


@pytest.fixture(autouse=True)
def in_folder_with_certificates(tmp_path, monkeypatch):
    for name in ("ca.pem", "own.pem", "own.key"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("url", "host", "port", "db", "login", "tls"),
    [
        pytest.param("redis://r", "r", 6379, 0, (None, None), {}, id="defaults"),
        pytest.param("redis://r:1/2", "r", 1, 2, (None, None), {}, id="port and database"),
        pytest.param("redis://[::1]:1/2", "::1", 1, 2, (None, None), {}, id="IPv6"),
        pytest.param("redis://:p%2Fw%40@r:1", "r", 1, 0, (None, "p/w@"), {}, id="password"),
        pytest.param("redis://u%3A:p@r:1", "r", 1, 0, ("u:", "p"), {}, id="user and password"),
        pytest.param("rediss://r:1/2", "r", 1, 2, (None, None), TLS, id="TLS verifies by default"),
        pytest.param(
            "rediss://r:1?ssl_ca_certs=ca.pem&ssl_certfile=own.pem&ssl_keyfile=own.key&ssl_password=p",
            "r",
            1,
            0,
            (None, None),
            {
                **TLS,
                "ssl_ca_certs": "ca.pem",
                "ssl_certfile": "own.pem",
                "ssl_keyfile": "own.key",
                "ssl_password": "p",
            },
            id="TLS with own authority and certificate",
        ),
        pytest.param(
            "rediss://r:1?ssl_cert_reqs=none&ssl_check_hostname=false",
            "r",
            1,
            0,
            (None, None),
            {"ssl_cert_reqs": "none", "ssl_check_hostname": False},
            id="TLS that verifies nothing, where that is asked for",
        ),
    ],
)
def test_both_clients_are_told_the_same(url, host, port, db, login, tls, monkeypatch):
    """Whatever the environment says."""
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://elsewhere:9/9")
    told = RedisAddress.from_url(url).connect().connection_pool.connection_kwargs
    assert (told["host"], told["port"], told["db"]) == (host, port, db)
    assert (told.get("username"), told.get("password")) == login
    assert {name: told[name] for name in tls} == tls
    app = Celery(set_as_current=False)
    app.conf.update(RedisAddress.from_url(url).configure_celery(brpop_timeout=1))
    for broker in (app.connection_for_read(), app.connection_for_write()):
        assert (broker.hostname, broker.port, broker.virtual_host) == (host, port, str(db))
        assert (broker.userid, broker.password) == login
        assert broker.ssl == (tls or False)
        assert broker.transport_options == {
            "global_keyprefix": "rerank:",
            "priority_steps": [0],
            "brpop_timeout": 1,
        }


@pytest.mark.parametrize(
    ("scheme", "tls"), [("sentinel", {}), ("sentinels", {"ssl": True, **TLS})], ids=["plain", "TLS"]
)
def test_both_clients_ask_the_same_sentinels(scheme, tls):
    address = RedisAddress.from_url(
        f"{scheme}://u:p%40@s1,s2:2/3?master_name=m&sentinel_username=su&sentinel_password=sp"
    )
    to_sentinels = {"username": "su", "password": "sp", **tls, "socket_timeout": 4, "retry": None}

    pool = address.connect(socket_timeout=4).connection_pool
    assert pool.service_name == "m"
    for sentinel, asked in zip(pool.sentinel_manager.sentinels, [("s1", 26379), ("s2", 2)], strict=True):
        told = sentinel.connection_pool.connection_kwargs
        assert (told["host"], told["port"]) == asked
        assert {name: told[name] for name in to_sentinels if name != "ssl"} == {
            name: value for name, value in to_sentinels.items() if name != "ssl"
        }
    master = {"db": 3, "username": "u", "password": "p@", "socket_timeout": 4}
    assert {name: pool.connection_kwargs[name] for name in master} == master

    app = Celery(set_as_current=False)
    app.conf.update(address.configure_celery(socket_timeout=4))
    broker = app.connection_for_write()
    assert broker.alt == [f"sentinel://u:p%40@{host}/3" for host in ("s1:26379", "s2:2")]
    assert broker.transport_options["master_name"] == "m"
    assert broker.transport_options["sentinel_kwargs"] == to_sentinels
    assert broker.transport_options["global_keyprefix"] == "rerank:"
    assert bool(broker.ssl) == bool(tls)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        pytest.param("http://:secret@r", "expected redis://, rediss://", id="another scheme"),
        pytest.param("redis://:secret@", "a host is missing", id="no host"),
        pytest.param("redis://u:secret/more@r", "%XX", id="reserved character in the password"),
        pytest.param("redis://u:secret#more@r", "%XX", id="another one"),
        pytest.param("redis://:secret@r:x", "%XX", id="port that is none"),
        pytest.param("redis://:secret@r/wine", "database", id="database that is none"),
        pytest.param("redis://:secret@r,q", "sentinel://", id="two hosts without Sentinels"),
        pytest.param("redis://r?db=1", "db: expected no options", id="option of redis-py alone"),
        pytest.param("redis://r?ssl_ca_certs=ca.pem", "ssl_ca_certs: expected no", id="TLS without rediss"),
        pytest.param("rediss://r?ssl_ca_certs=no.pem", "ssl_ca_certs: no file no.pem", id="no such file"),
        pytest.param("rediss://r?ssl_cert_reqs=maybe", "required or none", id="half a verification"),
        pytest.param("rediss://r?ssl_passwort=secret", "ssl_passwort: expected ssl_ca", id="misspelt option"),
        pytest.param("sentinel://s", "master_name is missing", id="Sentinels of what"),
        pytest.param("sentinel://s,:1?master_name=m", "a host is missing", id="a Sentinel without host"),
    ],
)
def test_a_wrong_url_is_explained_and_not_quoted(url, problem):
    with pytest.raises(ValueError, match=problem) as caught:
        RedisAddress.from_url(url)
    assert "secret" not in str(caught.value)


def test_a_printed_address_shows_no_password():
    url = "sentinel://u:secret@s?master_name=m&sentinel_password=secret"
    assert "secret" not in repr(RedisAddress.from_url(url))
