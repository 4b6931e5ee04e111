"""What is seen of a mistake before any server is asked, and what a URL says."""

import json

import pytest
import redis
from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError

from pyramid_pluggable_session.loader import find_plug, make_plug
from pyramid_pluggable_session.plugs.redis import RedisPlug
from pyramid_pluggable_session.plugs.redis.url import Target, parse_url
from servers.redis import make_certificates


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("redis://h", Target("server", False, (("h", 6379),))),
        ("REDIS://h/", Target("server", False, (("h", 6379),))),
        ("valkey://h:1/2", Target("server", False, (("h", 1),), database=2)),
        ("redis://h:1?db=2", Target("server", False, (("h", 1),), database=2)),
        ("rediss://[::1]:1/0", Target("server", True, (("::1", 1),))),
        ("valkeys://[fe80::1%25eth0]", Target("server", True, (("fe80::1%eth0", 6379),))),
        ("redis://u:p@h", Target("server", False, (("h", 6379),), username="u", password="p")),
        ("redis://:p%40%2F%3A%25@h", Target("server", False, (("h", 6379),), password="p@/:%")),
        (
            "redis://%C3%A4%20b:p:q@h",
            Target("server", False, (("h", 6379),), username="ä b", password="p:q"),
        ),
        ("redis://:p@q@h", Target("server", False, (("h", 6379),), password="p@q")),
        ("redis+unix:///run/r%20s", Target("socket", False, path="/run/r s")),
        ("redis+unix:/run/s?db=3", Target("socket", False, path="/run/s", database=3)),
        ("redis+unix://:p@/s", Target("socket", False, path="/s", password="p")),
        (
            "redis+sentinel://a,b:1,[::2],[::3]:4/name",
            Target(
                *("sentinel", False, (("a", 26379), ("b", 1), ("::2", 26379), ("::3", 4))),
                service="name",
            ),
        ),
        (
            "rediss+sentinel://u:p@a/my%20name/5",
            Target(
                *("sentinel", True, (("a", 26379),)),
                service="my name",
                database=5,
                username="u",
                password="p",
            ),
        ),
        ("redis+cluster://a,b:7001/0", Target("cluster", False, (("a", 6379), ("b", 7001)))),
        ("rediss+cluster://a/", Target("cluster", True, (("a", 6379),))),
    ],
)
def test_url(url, target):
    assert parse_url(url) == target


WHERE = "pluggable_session.redis."


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("h:6379", "must be a URL such as redis://user:password@host:6379/0"),
        ("http://h", "the schemes redis, rediss, valkey, .* not 'http://h'"),
        ("redis://u:secret#1@h", "not 'redis://.hidden.h'. In the user.* %40, %2F"),
        ("redis://u:sec/ret@h/0", "must be a URL"),
        ("redis://u:sec?ret@h/0", "must be a URL"),
        ("redis://u:sec/ret@h", "must be a URL"),
        ("redis://", "names no host. It should be like host, host:6379 or"),
        ("redis:///0", "names no host"),
        ("redis://u:secret@", "names no host"),
        ("redis+sentinel://a,,b/name", "names no host"),
        ("redis://h:0", "'h:0' where a host belongs"),
        ("redis://h:65536", "'h:65536' where a host belongs"),
        ("redis://h:port", "'h:port' where a host belongs"),
        ("redis://h:", "'h:' where a host belongs"),
        ("redis://[::1", "where a host belongs"),
        ("redis://::1", "'::1' where a host belongs. It should be like .*\\[::1\\]:6379"),
        ("redis://a,b", "names several hosts. It should be like redis\\+sentinel://"),
        ("redis://h/one", "the database must be a number such as 0, not 'one'"),
        ("redis://h/-1", "must be a number"),
        ("redis://h/1/2", "must be a number"),
        ("redis://h/1?db=2", "names the database twice"),
        ("redis://h?dbb=2", "dbb, in the query of pluggable_session.redis.url, is not known. Did"),
        ("redis://h?timeout=2", "timeout, in the query of .* is not known. Known are: db"),
        ("redis+unix://", "names no socket"),
        ("redis+unix://run/s", "names a host. It should be like .* three slashes"),
        ("redis+sentinel://h", "names no service. It should be like .*26379/mymaster"),
        ("redis+sentinel://h/", "names no service"),
        ("redis+sentinel://h/name/x", "must be a number"),
        ("redis+cluster://h/1", "a cluster has no database but 0, not 1"),
        ("redis+cluster://h?db=0", "db, in the query of .* is not known. Known are: none"),
        ("redis://u@h", "has a user, and no password. Set pluggable_session.redis.password"),
    ],
)
def test_bad_url(url, message):
    with pytest.raises(ConfigurationError, match=message) as caught:
        RedisPlug(url=url)
    assert str(caught.value).startswith("pluggable_session.redis.url") or "in the query" in message
    assert "sec" not in str(caught.value)
    assert "ret" not in str(caught.value)


def own(**options):
    return redis.Redis(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"username": "u"}, "has a user, and no password"),
        ({"url": "redis://:p@h", "password": "q"}, f"{WHERE}password is set, and {WHERE}url has"),
        ({"url": "redis://u:p@h", "username": "u"}, f"{WHERE}username is set, and {WHERE}url has"),
        ({"sentinel_password": "p"}, f"{WHERE}sentinel_password is set, but .* not redis.sentinel"),
        ({"url": "redis+sentinel://h/n", "sentinel_username": "u"}, "sentinel_password is not"),
        ({"ca_certs": "/ca"}, f"{WHERE}ca_certs is set, but {WHERE}url is not rediss"),
        ({"verify": False}, f"{WHERE}verify is set, but {WHERE}url is not rediss"),
        ({"url": "rediss://h", "keyfile": "/k"}, f"{WHERE}keyfile is set, and {WHERE}certfile is"),
        ({"url": "rediss://h", "ca_certs": "/no"}, "ca_certs: /no has no certificates .*No such"),
        ({"url": "rediss://h", "ca_certs": __file__}, "has no certificates that can be read"),
        ({"url": "rediss://h", "certfile": "/no"}, "certfile: /no and .*keyfile: the same are not"),
        ({"client": object()}, "client must be a redis.Redis, .* not a object"),
        ({"client": lambda config: None}, "not a NoneType"),
        ({"client": redis.asyncio.Redis()}, "not a Redis"),
        ({"client": own(decode_responses=True)}, "client has decode_responses=True. Records are b"),
        (
            {"client": redis.ConnectionPool(decode_responses=True)},
            "client has decode_responses=True",
        ),
        (
            {"client": own(protocol=3, cache_config=redis.cache.CacheConfig())},
            "client caches answers",
        ),
        ({"client": own(), "url": "redis://h"}, f"{WHERE}url is set, but {WHERE}client knows that"),
        ({"client": own(), "password": "p"}, f"{WHERE}password is set, but"),
        ({"client": own(), "ca_certs": "/ca"}, f"{WHERE}ca_certs is set, but"),
        ({"client": own(), "sentinel_password": "p"}, f"{WHERE}sentinel_password is set, but"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ConfigurationError, match=message):
        RedisPlug(**options)


def test_key_with_a_password_is_not_asked_for(tmp_path):
    from cryptography.hazmat.primitives import serialization

    authority, certificate, key = make_certificates(tmp_path)
    with open(key, "rb") as file:
        loaded = serialization.load_pem_private_key(file.read(), None)
    with open(key, "wb") as file:
        file.write(
            loaded.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(b"secret"),
            )
        )
    with pytest.raises(ConfigurationError, match="without a password"):
        RedisPlug(url="rediss://h", ca_certs=authority, certfile=certificate, keyfile=key)


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:1/0",
        "rediss://127.0.0.1:1",
        "redis+unix:///no/such",
        "redis+sentinel://127.0.0.1:1/name",
        "redis+cluster://127.0.0.1:1",
    ],
)
def test_no_server_is_asked_when_the_application_starts(url):
    RedisPlug(url=url).close()


def plug_of(settings, spec="redis"):
    with Configurator(settings=settings) as config:
        return make_plug(config, spec)


class TestSettings:
    def test_url_with_options(self):
        plug = plug_of({}, "redis://:p@h:1/2?prefix=app:&timeout=3&max_connections=4")
        assert plug._target == Target("server", False, (("h", 1),), database=2, password="p")
        assert plug._prefix == "app:"
        client = plug._commands._client()
        assert client.get_connection_kwargs()["socket_timeout"] == 3.0
        assert client.get_connection_kwargs()["socket_connect_timeout"] == 2.0

    @pytest.mark.parametrize(
        ("spec", "target"),
        [
            ("redis+unix:///s?db=1", Target("socket", False, path="/s", database=1)),
            (
                "redis+sentinel://a:1,b/n",
                Target("sentinel", False, (("a", 1), ("b", 26379)), "", "n"),
            ),
            ("rediss+cluster://a:1,b", Target("cluster", True, (("a", 1), ("b", 6379)))),
            ("valkeys://a", Target("server", True, (("a", 6379),))),
        ],
    )
    def test_every_scheme_leads_here(self, spec, target):
        assert plug_of({}, spec)._target == target

    def test_defaults(self):
        assert plug_of({})._target == Target("server", False, (("localhost", 6379),))
        RedisPlug()

    def test_defaults_are_the_same_in_both_places(self):
        import inspect

        signature = inspect.signature(RedisPlug)
        for option in RedisPlug.options:
            assert signature.parameters[option.name].default == option.default
        assert len(RedisPlug.options) == len(signature.parameters) - 1

    def test_password_apart(self):
        plug = plug_of({WHERE + "url": "redis://u@h", WHERE + "password": "p"})
        assert plug._target.username == "u"
        assert plug._target.password == "p"

    def test_unknown_option_in_the_url(self):
        with pytest.raises(
            ConfigurationError, match=r"tiemout, in the query of .*url, is not known"
        ):
            plug_of({}, "redis://h?tiemout=3")

    def test_passwords_are_not_shown(self):
        settings = {WHERE + "sentinel_password": "secret1"}
        spec = "redis+sentinel://u:secret2@h/name"
        with Configurator(settings=settings) as config:
            found = find_plug(config, spec)
            plug = found.make(config)
        shown = json.dumps(found.shown_options()) + repr(plug) + repr(plug._target)
        assert "secret" not in shown
        shown = repr(plug._commands._client().connection_pool.sentinel_manager)
        assert "secret" not in shown

    def test_dotted_client(self):
        plug = plug_of({WHERE + "client": f"{__name__}.client_for"})
        assert plug._commands._client().config is not None


def client_for(config):
    client = redis.Redis()
    client.config = config
    return client
