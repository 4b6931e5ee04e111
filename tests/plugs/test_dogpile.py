import itertools
import json
import sys
import types

import pytest
from dogpile.cache import make_region
from dogpile.cache.proxy import ProxyBackend
from dogpile.cache.util import sha1_mangle_key
from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError

from apps import App
from pyramid_pluggable_session import loader
from pyramid_pluggable_session.errors import PlugUnavailable
from pyramid_pluggable_session.interfaces import IPurgePlug, IScanPlug, ISwapPlug
from pyramid_pluggable_session.plugs.dogpile import DogpilePlug
from pyramid_pluggable_session.storage import Storage
from pyramid_pluggable_session.testing import PlugContract, session_key
from servers import free_port

_numbers = itertools.count()


@pytest.fixture(scope="session")
def memcached(running):
    return running("memcached")


@pytest.fixture(scope="session")
def redis_server(running):
    return running("valkey")


@pytest.fixture
def key_prefix():
    return f"{next(_numbers)}:"


def configured(backend, **arguments):
    """Return the settings of an application whose region has this backend."""
    settings = {"session_cache.backend": f"dogpile.cache.{backend}"}
    for name, value in arguments.items():
        settings[f"session_cache.arguments.{name}"] = str(value)
    return Configurator(settings=settings)


def made(config, key_prefix="session:"):
    return DogpilePlug(config, settings_prefix="session_cache.", key_prefix=key_prefix)


class TestOnMemory(PlugContract):
    shared_between_processes = False

    @pytest.fixture
    def make_plug(self):
        region = make_region().configure("dogpile.cache.memory")
        return lambda: DogpilePlug(region=region)


class TestOnDbm(PlugContract):
    @pytest.fixture
    def make_plug(self, tmp_path):
        config = configured("dbm", filename=tmp_path / "sessions.dbm")
        return lambda: made(config)


# What dogpile.cache calls is deprecated in the newest redis.
@pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")
class TestOnRedis(PlugContract):
    @pytest.fixture
    def make_plug(self, redis_server, key_prefix):
        config = configured("redis", url=redis_server.url, redis_expiration_time=3600)
        plugs = []

        def make():
            plugs.append(made(config, key_prefix))
            return plugs[-1]

        yield make
        for plug in plugs:
            plug._region().backend.writer_client.close()


class TestOnMemcached(PlugContract):
    @pytest.fixture
    def make_plug(self, memcached, key_prefix):
        config = configured("pymemcache", url=memcached.address, memcached_expire_time=3600)
        plugs = []

        def make():
            plugs.append(made(config, key_prefix))
            return plugs[-1]

        yield make
        for plug in plugs:
            plug._region().backend.client.close()

    def close_plug(self, plug):
        plug._region().backend.client.close()


@pytest.fixture
def region():
    return make_region().configure("dogpile.cache.memory")


@pytest.fixture
def plug(region):
    return DogpilePlug(region=region)


class TestRegion:
    def test_provides_no_more_than_it_can(self, plug):
        for interface in (ISwapPlug, IScanPlug, IPurgePlug):
            assert not interface.providedBy(plug)

    def test_keys(self, region):
        key = session_key()
        DogpilePlug(region=region, key_prefix="mine:").dumps(key, None, b"record")
        assert list(region.backend._cache) == ["mine:" + key.session_id]
        assert DogpilePlug(region=region).loads(key, None) is None

    def test_key_mangler(self):
        region = make_region(key_mangler=sha1_mangle_key)
        region.configure("dogpile.cache.memory")
        plug, key = DogpilePlug(region=region), session_key()
        plug.dumps(key, None, b"record")
        assert plug.loads(key, None) == b"record"
        (name,) = region.backend._cache
        assert key.session_id not in name
        plug.clear(key, None)
        assert not region.backend._cache

    def test_expiration_of_the_region_does_not_count(self):
        region = make_region().configure("dogpile.cache.memory", expiration_time=0.000001)
        plug, key = DogpilePlug(region=region), session_key()
        plug.dumps(key, None, b"record")
        assert plug.loads(key, None) == b"record"
        region.invalidate()
        assert plug.loads(key, None) == b"record"

    def test_expired_is_not_kept(self, plug, region):
        key = session_key()
        plug.dumps(key, None, b"record")
        plug.dumps(key._replace(expires_at=session_key(-1).expires_at), None, b"late")
        assert not region.backend._cache

    def test_fork_makes_a_region_of_ones_own(self, tmp_path, in_child):
        plug = made(configured("dbm", filename=tmp_path / "sessions.dbm"))
        ours = id(plug._region().backend)
        assert plug._region() is plug._region()
        assert in_child(lambda: id(plug._region().backend)) != ours

    def test_region_of_the_application_stays(self, plug, region, in_child):
        assert in_child(lambda: plug._region() is region) is True

    def test_in_an_application(self, region):
        client = App(DogpilePlug(region=region)).client()
        client.do(lambda session: session.__setitem__("a", 1))
        assert client.do(lambda session: session["a"]).result == 1
        client.do(lambda session: session.invalidate())
        assert not region.backend._cache


class TestConfiguration:
    def refused(self, *words, config=None, **options):
        with pytest.raises(ConfigurationError) as caught:
            DogpilePlug(config, **options)
        for word in words:
            assert word in str(caught.value)
        return str(caught.value)

    def test_one_of_both(self, region):
        words = (
            "Set either pluggable_session.dogpile.region or "
            "pluggable_session.dogpile.settings_prefix, and not both."
        )
        self.refused(words)
        self.refused(words, region=region, settings_prefix="session_cache.")

    def test_something_else(self):
        self.refused("dogpile.region must be a CacheRegion", "not dict", region={})
        self.refused("must be a CacheRegion", "not NoneType", region=lambda config: None)

    def test_not_configured(self):
        self.refused("dogpile.region is not configured. Call its configure()", region=make_region())

    def test_callable(self, region):
        config = Configurator(settings={})
        seen = []
        plug = DogpilePlug(config, region=lambda given: seen.append(given) or region)
        assert seen == [config]
        assert plug._region() is region

    def test_by_settings(self, region, monkeypatch):
        module = types.ModuleType("app_of_the_tests")
        module.region = region
        monkeypatch.setitem(sys.modules, "app_of_the_tests", module)
        name = "pluggable_session.dogpile.region"
        config = Configurator(settings={name: "app_of_the_tests.region"})
        assert loader.make_plug(config, "dogpile")._region() is region
        config = Configurator(settings={})
        plug = loader.make_plug(config, "dogpile://?region=app_of_the_tests.region&key_prefix=s-")
        assert plug._region() is region
        plug.dumps(session_key(), None, b"record")
        assert next(iter(region.backend._cache)).startswith("s-")
        config = Configurator(settings={name: "app_of_the_tests.nothing"})
        with pytest.raises(ConfigurationError, match="a dotted name that can be imported"):
            loader.make_plug(config, "dogpile")

    def test_settings_prefix(self, tmp_path):
        config = configured("dbm", filename=tmp_path / "sessions.dbm")
        plug = loader.make_plug(config, "dogpile://?settings_prefix=session_cache.")
        plug.dumps(session_key(), None, b"record")
        assert list(tmp_path.iterdir()) != []

    def test_no_such_settings(self):
        words = "settings_prefix is 'cache.', but there is no setting cache.backend."
        self.refused(words, config=Configurator(settings={}), settings_prefix="cache.")
        self.refused(words, settings_prefix="cache.")

    def test_bad_settings(self):
        message = self.refused(
            "does not take the settings session_cache.*, which",
            "pluggable_session.dogpile.settings_prefix names:",
            "nonsense",
            config=configured("nonsense"),
            settings_prefix="session_cache.",
        )
        assert "PluginNotFound" in message
        self.refused("KeyError", config=configured("dbm"), settings_prefix="session_cache.")

    def test_does_not_connect(self):
        made(configured("redis", url="redis://host.invalid"))
        made(configured("pymemcache", url="host.invalid"))


class Broken(ProxyBackend):
    """A backend whose driver has an exception of its own."""

    class DriverError(Exception):
        pass

    def get(self, key):
        raise self.DriverError(f"no {key} at redis://user:password@host")

    def set(self, key, value):
        raise self.DriverError

    def delete(self, key):
        raise self.DriverError


OPERATIONS = [
    lambda storage: storage.loads(session_key()),
    lambda storage: storage.dumps(session_key(), b"record"),
    lambda storage: storage.dumps(session_key(-1), b"record"),
    lambda storage: storage.clear(session_key()),
]


class TestFailures:
    def failure(self, plug, operation=OPERATIONS[0]):
        with pytest.raises(PlugUnavailable) as caught:
            operation(Storage(plug, None))
        return caught.value

    @pytest.mark.parametrize("operation", OPERATIONS)
    def test_whatever_a_backend_raises_is_an_outage(self, operation):
        region = make_region().configure("dogpile.cache.memory", wrap=[Broken])
        error = self.failure(DogpilePlug(region=region), operation)
        assert "DriverError" in str(error)
        assert "(see the settings of the region" in str(error)

    def test_nothing_secret_is_told(self):
        region = make_region().configure("dogpile.cache.memory", wrap=[Broken])
        message = str(self.failure(DogpilePlug(region=region)))
        assert "no session:(session id) at redis://(hidden)host" in message

    def test_a_mistake_of_ours_is_not_an_outage(self, plug):
        with pytest.raises(AttributeError):
            Storage(plug, None).loads(object())

    @pytest.mark.parametrize("operation", OPERATIONS)
    def test_redis_is_down(self, operation):
        url = f"redis://127.0.0.1:{free_port()}"
        assert "ConnectionError" in str(self.failure(made(configured("redis", url=url)), operation))

    @pytest.mark.parametrize("operation", OPERATIONS)
    def test_memcached_is_down(self, operation):
        plug = made(configured("pymemcache", url=f"127.0.0.1:{free_port()}"))
        assert "ConnectionRefusedError" in str(self.failure(plug, operation))

    def test_serializer_that_takes_no_bytes(self):
        region = make_region(serializer=lambda value: json.dumps(value).encode())
        region.configure("dogpile.cache.memory")
        error = self.failure(DogpilePlug(region=region), OPERATIONS[1])
        assert "(records are bytes; give the region a serializer that takes them" in str(error)

    def test_null_backend_forgets(self):
        plug, key = made(configured("null")), session_key()
        plug.dumps(key, None, b"record")
        assert plug.loads(key, None) is None
