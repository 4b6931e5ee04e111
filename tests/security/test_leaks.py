"""No id, no secret and no data where people look: logs, reprs, errors, events, introspection."""

from __future__ import annotations

import errno
import logging
import os
import pprint
import shutil
import sqlite3
import traceback

import pytest
from attacks import INVENTED_ID, plant_record, put, send, stolen_record, visitor
from pyramid.config import Configurator
from pyramid.csrf import get_csrf_token
from pyramid.exceptions import ConfigurationError
from pyramid.interfaces import ISessionFactory
from pyramid.request import Request
from pyramid.response import Response
from zope.interface import implementer

from apps import SECRET, App, CountingPlug
from pyramid_pluggable_session import (
    PluggableSessionFactory,
    PlugUnavailable,
    SessionAuthenticationHelper,
    SessionConflict,
    SessionError,
    SessionTooLarge,
    UnserializableValue,
    set_session_plug,
)
from pyramid_pluggable_session.events import SessionEvent
from pyramid_pluggable_session.interfaces import IPlugSession
from pyramid_pluggable_session.keyring import Keyring
from pyramid_pluggable_session.keys import SessionKey, handle
from pyramid_pluggable_session.loader import show
from pyramid_pluggable_session.plugs.chain import ChainPlug
from pyramid_pluggable_session.plugs.file import FilePlug
from pyramid_pluggable_session.plugs.memory import MemoryPlug
from pyramid_pluggable_session.plugs.sqlite import SqlitePlug
from pyramid_pluggable_session.record import Sealer
from pyramid_pluggable_session.storage import Storage
from pyramid_pluggable_session.testing import FakeClock

VALUE = "plaintext-of-the-session"
PASSWORD = "hunter2-of-the-storage"


class Secrets:
    """Everything that a test must not find again, as it comes up."""

    def __init__(self, *known):
        self.texts = {SECRET, VALUE, PASSWORD, *known}

    def of(self, client):
        """Note the id and the cookie of a client, and its record."""
        self.texts |= {client.session_id, client.cookie, client.cookie[64:]}
        record = stolen_record(client.app, client.session_id)
        if record:
            self.texts |= {record.hex(), repr(record)[2:-1]}
        return client

    def in_(self, *shown):
        """Return which of the secrets are in the texts."""
        text = "\n".join(map(str, shown))
        return sorted(secret for secret in self.texts if secret in text)


@pytest.fixture
def secrets():
    return Secrets()


def error_of(action, expected):
    """Return the error that ``action`` ends with, and its whole traceback."""
    with pytest.raises(expected) as caught:
        action()
    return caught.value, "".join(traceback.format_exception(caught.value))


class TestLogs:
    @pytest.fixture
    def logged(self, caplog):
        caplog.set_level(logging.DEBUG)
        for name in list(logging.root.manager.loggerDict):
            caplog.set_level(logging.DEBUG, name)

        def logged():
            return [
                line
                for record in caplog.records
                for line in (record.getMessage(), repr(record.args), record.exc_text or "")
            ]

        return logged

    @pytest.mark.parametrize("encrypt", [False, True])
    def test_hold_no_secret_whatever_happens(self, logged, secrets, encrypt):
        """A session's whole life, with all the accidents it may have."""
        helper = SessionAuthenticationHelper()
        with FakeClock() as clock:
            app = App(encrypt=encrypt, max_size=2000)
            client = secrets.of(visitor(app, word=VALUE))
            client.do(dict)
            client.do(lambda session: session.flash(VALUE))
            client.do(lambda session: session.setdefault("list", []).append(VALUE))
            # Two requests at once that want different things
            client.do(lambda session: (session.update(word="a"), client.do(put(word="b"))))
            client.do(lambda session: (session.update(word="a"), client.do(put(word="b"))))
            # A planted record, a login, and writes with the old id
            before = app.client(cookie=client.cookie)
            client.request(lambda request: helper.remember(request, VALUE) or {})
            secrets.of(client)
            before.do(put(word=VALUE))
            plant_record(app, client.session_id, b"garbage")
            client.do(put(word=VALUE))
            secrets.of(client)
            # Idle expiry, refused cookies, a session that is too large, one that cannot be stored
            clock.advance(1200)
            client.do(put(word=VALUE))
            secrets.of(client)
            send(app, f"session={client.session_id}", put(word=VALUE))
            send(app, f"session={INVENTED_ID * 2}", dict)
            other = visitor(app, a=1)
            send(app, f"session={client.cookie}; session={other.cookie}", dict)
            for bad in (put(word=VALUE * 500), put(word=object())):
                with pytest.raises(SessionError):
                    client.do(bad)
            client.do(lambda session: session.invalidate())
        assert secrets.in_(*logged()) == []
        assert len(logged()) > 5

    def test_of_an_outage_hold_no_id(self, logged, secrets, tmp_path):
        chain = App(plug=ChainPlug(None, [FilePlug(path=tmp_path / "gone"), MemoryPlug()]))
        client = secrets.of(visitor(chain, word=VALUE))
        shutil.rmtree(tmp_path / "gone")
        client.do(put(word="other"))
        assert secrets.in_(*logged()) == []
        assert any("going on without" in line for line in logged())

    @pytest.mark.parametrize("action", [dict, put(a=1)], ids=["loading", "saving"])
    def test_of_an_outage_that_nobody_handles_hold_no_id(self, logged, secrets, action):
        client = secrets.of(visitor(App(), word=VALUE))
        app = App(plug=failing_plug(driver_error_in_a_chain))
        app.client(cookie=client.cookie).do(action, status=503)
        assert secrets.in_(*logged()) == []
        assert any("PlugUnavailable" in line for line in logged())

    @pytest.mark.parametrize("mode", ["ours", "fail"])
    def test_are_one_line_each_whatever_the_keys_are(self, logged, mode):
        """Keys may be what a user made up, and a line that a user made up is a forged one."""
        client = visitor(App(on_conflict=mode), **{"a\nforged line": 0})

        def overlapping(session):
            session["a\nforged line"] = 1
            client.do(put(**{"a\nforged line": 2}))

        if mode == "fail":
            with pytest.raises(SessionConflict) as caught:
                client.do(overlapping)
            assert "\n" not in str(caught.value)
        else:
            client.do(overlapping)
            assert any("forged line" in line for line in logged())
        assert not any("\n" in line for line in logged())

    def test_name_a_session_by_a_handle_instead(self, logged):
        app = App()
        client = visitor(app, word=VALUE)
        plant_record(app, client.session_id, b"garbage")
        client.data()
        assert any(handle(client.session_id) in line for line in logged())


class TestReprs:
    @pytest.fixture
    def client(self, secrets):
        return secrets.of(visitor(App(), word=VALUE))

    def test_of_a_session(self, client, secrets):
        def shown(session):
            before = repr(session)
            dict(session)
            return [before, repr(session), str(session), f"{session}", pprint.pformat(session)]

        assert secrets.in_(*client.do(shown).result) == []

    def test_of_a_new_session_with_data(self, client, secrets):
        def shown(session):
            session["word"] = VALUE
            secrets.texts.add(session.session_id)
            return [repr(session), str(session)]

        assert secrets.in_(*client.app.client().do(shown).result) == []

    def test_of_a_key(self, client, secrets):
        key = SessionKey(client.session_id, None)
        assert secrets.in_(repr(key), str(key), f"{key}", [key], {"key": key}) == []

    def test_of_keys(self, secrets):
        keyring = Keyring([SECRET.encode()], "salt", "sha256")
        keys = keyring.first
        for secret in (keys.cookie, keys.record, keys.encryption):
            secrets.texts |= {repr(secret)[2:-1], secret.hex()}
        shown = [repr(keys), str(keys), repr(keyring), repr(keyring.all), repr(keyring.by_id)]
        assert secrets.in_(*shown) == []

    def test_of_the_factory_and_what_it_is_made_of(self, client, secrets):
        factory = client.app.registry.getUtility(ISessionFactory)
        shown = [repr(factory), str(factory), repr(factory.cookie), repr(factory.cookie.attributes)]
        assert secrets.in_(*shown) == []

    def test_of_what_is_found_in_a_cookie(self, client, secrets):
        factory = client.app.registry.getUtility(ISessionFactory)
        found = factory.cookie.read(
            Request.blank("/", headers={"Cookie": f"session={client.cookie}"})
        )
        assert found.session_id == client.session_id
        assert secrets.in_(repr(found), str(found), f"{found}", [found], {"found": found}) == []

    def test_of_a_sealer_and_a_storage(self, client, secrets):
        sealer = Sealer(Keyring([SECRET.encode()], "salt", "sha256"), encrypt=False)
        storage = Storage(client.app.plug, None)
        storage.loads(SessionKey(client.session_id, None))
        assert secrets.in_(repr(sealer), repr(storage), repr(storage.operations)) == []

    def test_of_plugs(self, client, secrets, tmp_path):
        key = SessionKey(client.session_id, None)
        plugs = [
            MemoryPlug(),
            FilePlug(path=tmp_path / "files"),
            SqlitePlug(path=tmp_path / "sessions.db"),
        ]
        plugs.append(ChainPlug(None, [MemoryPlug(), MemoryPlug()]))
        for plug in plugs:
            plug.dumps(key, None, VALUE.encode())
        assert secrets.in_(*map(repr, plugs), *map(str, plugs)) == []

    def test_of_the_operations_of_a_request(self, client, secrets):
        shown = client.do(lambda session: (dict(session), repr(session.operations))[1]).result
        assert secrets.in_(shown) == []
        assert "loads" in shown


class Unstorable:
    """An object that shows its value, and whose own error does so as well."""

    def __init__(self, value):
        self.value = value

    def __repr__(self):
        return self.value

    def __reduce__(self):
        raise ValueError(self.value)


class TestErrors:
    def test_of_a_record_that_is_too_large(self, secrets):
        app = App(max_size=1000)
        client = secrets.of(visitor(app, word=VALUE))
        error, shown = error_of(lambda: client.do(put(word=VALUE * 100)), SessionTooLarge)
        assert secrets.in_(shown, repr(error), error.args) == []

    @pytest.mark.parametrize("serializer", ["msgpack", "json", "pickle"])
    @pytest.mark.parametrize(
        "value",
        [
            lambda: VALUE,
            {"deep": [{"word": VALUE}, lambda: VALUE]},
            [VALUE, memoryview(VALUE.encode())],
            Unstorable(VALUE),
        ],
        ids=["function", "nested", "memory", "an object that shows itself"],
    )
    def test_of_a_value_that_cannot_be_stored(self, secrets, serializer, value):
        client = App(serializer=serializer).client()
        error, shown = error_of(
            lambda: client.do(put(a=VALUE, b=value, c={"d": VALUE})), UnserializableValue
        )
        assert secrets.in_(shown, repr(error), error.args, error.path) == []

    def test_of_a_conflict(self, secrets):
        app = App(on_conflict="fail")
        client = secrets.of(visitor(app, word="a"))
        error, shown = error_of(
            lambda: client.do(lambda s: (s.update(word=VALUE), client.do(put(word="b")))),
            SessionConflict,
        )
        assert secrets.in_(shown, repr(error), error.args) == []
        assert "word" in str(error)

    def test_of_an_id_that_is_taken(self, secrets, monkeypatch):
        app = App()
        client = secrets.of(visitor(app, word=VALUE))
        monkeypatch.setattr(
            "pyramid_pluggable_session.visit.new_session_id", lambda: client.session_id
        )
        error, shown = error_of(lambda: visitor(app, word=VALUE), SessionConflict)
        assert secrets.in_(shown, repr(error), error.args) == []


class DriverError(Exception):
    """What a driver raises, with the key and whatever else in its message."""


def outage(plug, cookie, action=dict):
    """Return the PlugUnavailable that a request ends with, and its whole traceback."""
    caught = []

    def configure(config):
        config.add_exception_view(
            lambda context, request: caught.append(context) or Response(status=503),
            context=PlugUnavailable,
        )

    App(plug=plug, configure=configure).client(cookie=cookie).do(action, status=503)
    (error,) = caught
    return error, "".join(traceback.format_exception(error))


def failing_plug(error_for):
    """Return a plug that fails in every operation with what ``error_for`` raises."""

    @implementer(IPlugSession)
    class Failing:
        outages = (DriverError,)

        def loads(self, session, request):
            error_for(session.session_id)

        def dumps(self, session, request, session_data):
            error_for(session.session_id)

        def clear(self, session, request):
            error_for(session.session_id)

    return Failing()


def disk_full(session_id):
    raise OSError(errno.ENOSPC, "No space left on device", f"/srv/{session_id[:2]}/{session_id}")


def rename_failed(session_id):
    raise OSError(errno.EXDEV, "Invalid link", f"/srv/{session_id}.new", None, f"/srv/{session_id}")


def os_error_of_text(session_id):
    raise OSError(f"cannot write /srv/{session_id}")


def driver_error(session_id):
    raise DriverError(f"no answer for GET sess:{session_id}:data")


def driver_error_with_arguments(session_id):
    raise DriverError("no answer", {"key": f"sess:{session_id}"}, session_id.encode())


def driver_error_in_a_chain(session_id):
    try:
        disk_full(session_id)
    except OSError:
        raise DriverError("gave up") from KeyError(session_id)


def driver_error_with_a_context(session_id):
    try:
        driver_error_in_a_chain(session_id)
    except DriverError:
        raise TimeoutError("timed out")  # noqa: B904


def driver_error_with_a_text_of_its_own(session_id):
    class Own(DriverError):
        def __str__(self):
            return f"failed at {session_id}"

    raise Own


def driver_error_with_a_note(session_id):
    error = DriverError("failed")
    error.__notes__ = [f"while it was at {session_id}"]
    raise error


FAILURES = [
    disk_full,
    rename_failed,
    os_error_of_text,
    driver_error,
    driver_error_with_arguments,
    driver_error_in_a_chain,
    driver_error_with_a_context,
    driver_error_with_a_text_of_its_own,
    driver_error_with_a_note,
]


class TestAnOutage:
    @pytest.fixture
    def client(self, secrets):
        return secrets.of(visitor(App(), word=VALUE))

    @pytest.mark.parametrize("failure", FAILURES)
    def test_shows_no_id_in_its_error_when_loading(self, client, secrets, failure):
        error, shown = outage(failing_plug(failure), client.cookie)
        assert secrets.in_(shown, repr(error), str(error), error.args) == []

    @pytest.mark.parametrize("failure", FAILURES)
    def test_shows_no_id_in_its_error_when_saving(self, secrets, failure):
        failed = []

        def note_and_fail(session_id):
            secrets.texts.add(session_id)
            failed.append(session_id)
            failure(session_id)

        error, shown = outage(failing_plug(note_and_fail), None, put(word=VALUE))
        assert secrets.in_(shown, repr(error), str(error), error.args) == []
        assert len(failed) == 1

    def test_names_the_storage_and_what_it_failed_to_do(self, client):
        error, _ = outage(failing_plug(disk_full), client.cookie)
        assert "Failing failed to do loads: OSError: No space left on device" in str(error)

    @pytest.mark.parametrize(
        ("advice", "end"), [(None, "no answer"), ("look at the server", "(look at the server)")]
    )
    def test_ends_with_the_advice_of_the_plug(self, client, advice, end):
        def fail(session_id):
            raise OSError("no answer")

        plug = failing_plug(fail)
        plug.remedy = lambda error: advice if isinstance(error, OSError) else "wrong"
        error, _ = outage(plug, client.cookie)
        assert str(error).endswith(end)

    def test_shows_no_credentials_that_the_driver_names(self, client):
        password = "hunter" + str(2)  # a traceback shows the source as well

        def fail(session_id):
            raise DriverError(f"cannot connect to db://app:{password}@host/1")

        error, shown = outage(failing_plug(fail), client.cookie)
        assert "db://(hidden)host/1" in str(error)
        assert password not in f"{shown}{error!r}{error.__cause__!r}"

    def test_shows_no_message_of_the_driver_in_the_page(self, client):
        app = App(plug=failing_plug(driver_error))
        response = app.client(cookie=client.cookie).do(dict, status=503)
        assert "no answer" not in response.text
        assert response.headers["Retry-After"] == "5"

    def test_of_the_file_plug_on_a_full_disk_shows_no_id(self, tmp_path, secrets, monkeypatch):
        plug = FilePlug(path=tmp_path / "files")
        client = secrets.of(visitor(App(plug=plug), word=VALUE))

        def full(source, target, **kwargs):
            raise OSError(errno.ENOSPC, "No space left on device", source, None, target)

        monkeypatch.setattr(os, "rename", full)
        error, shown = outage(plug, client.cookie, put(word="other"))
        assert secrets.in_(shown, repr(error)) == []

    def test_of_the_file_plug_without_its_directory_shows_no_id(self, tmp_path, secrets):
        plug = FilePlug(path=tmp_path / "files")
        client = secrets.of(visitor(App(plug=plug), word=VALUE))
        shutil.rmtree(tmp_path / "files")
        for action in (dict, put(word="other"), lambda session: session.invalidate()):
            error, shown = outage(plug, client.cookie, action)
            assert secrets.in_(shown, repr(error)) == []

    def test_of_the_sqlite_plug_shows_no_id(self, tmp_path, secrets):
        path = tmp_path / "sessions.db"
        plug = SqlitePlug(path=path)
        client = secrets.of(visitor(App(plug=plug), word=VALUE))
        connection = sqlite3.connect(path)
        connection.execute("DROP TABLE sessions")
        connection.close()
        error, shown = outage(plug, client.cookie)
        assert secrets.in_(shown, repr(error)) == []
        plug.close()


CONFIGURATIONS = {
    "an unknown option": {"tiemout": SECRET},
    "a bad value": {"timeout": "a while"},
    "a contradiction": {"samesite": "none"},
    "a bad hash": {"hashalg": "none"},
    "a bad serializer": {"serializer": "no.such.module"},
    "an unknown plug": {"plug": "no-such-plug"},
}


class TestConfigurationErrors:
    @pytest.mark.parametrize("options", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
    def test_show_no_secret(self, options):
        def start():
            settings = {f"pluggable_session.{name}": value for name, value in options.items()}
            with Configurator(settings={"pluggable_session.secret": SECRET, **settings}) as config:
                config.include("pyramid_pluggable_session")

        error, shown = error_of(start, ConfigurationError)
        assert SECRET not in shown + repr(error)

    @pytest.mark.parametrize(
        "secret", ["", "  \n ", None, 12345678987654321, {"a": SECRET}, ["", 1]]
    )
    def test_of_a_bad_secret_do_not_show_it(self, secret):
        error, shown = error_of(lambda: PluggableSessionFactory(secret), ConfigurationError)
        assert "12345678987654321" not in shown.splitlines()[-1]
        assert SECRET not in str(error)

    def test_of_the_documentations_secret_do_not_show_the_rest_of_it(self):
        secret = "replace-me-with-something-else-please"
        error, _ = error_of(lambda: PluggableSessionFactory(secret), ConfigurationError)
        assert "something-else" not in str(error)

    @pytest.mark.parametrize(
        "spec",
        [
            f"redis//:{PASSWORD}@db.example/0",
            f"rediss//user:{PASSWORD}@db.example/0",
            f"nosuchplug://:{PASSWORD}@db.example/0",
            f"nosuchplug://user:{PASSWORD}@db.example/0",
            f"nosuchplug://db.example/0?password={PASSWORD}",
            f"nosuchplug:user:{PASSWORD}@db.example",
            f"no.such.plug:user:{PASSWORD}@db.example",
            f"sqlite://user:{PASSWORD}@/tmp/x.db?no_such_option=1",
        ],
    )
    def test_of_a_mistyped_url_do_not_show_its_password(self, spec):
        def start():
            with Configurator(settings={}) as config:
                config.add_directive("set_session_plug", set_session_plug)
                config.set_session_plug(spec)

        error, shown = error_of(start, ConfigurationError)
        assert PASSWORD not in shown + repr(error)

    def test_warn_of_a_short_secret_without_showing_it(self, caplog):
        PluggableSessionFactory("a-short-one")
        assert "a-short-one" not in caplog.text
        assert "11 bytes" in caplog.text


class TestEvents:
    def test_hold_no_secret(self, secrets):
        with FakeClock() as clock:
            app = App()
            client = secrets.of(visitor(app, word=VALUE))
            client.do(lambda session: (session.update(word="a"), client.do(put(word="b"))))
            old = app.client(cookie=client.cookie)
            client.do(lambda session: session.regenerate_id())
            secrets.of(client)
            old.do(put(word=VALUE))
            plant_record(app, client.session_id, b"garbage")
            client.do(put(word=VALUE))
            secrets.of(client)
            clock.advance(1200)
            client.do(put(word=VALUE))
            secrets.of(client)
            client.do(lambda session: session.invalidate())
            send(app, "session=garbage")
        shown = [repr(event) for event in app.events]
        shown += [
            repr({name: value for name, value in vars(event).items() if name != "request"})
            for event in app.events
        ]
        assert secrets.in_(*shown) == []
        assert {type(event) for event in app.events} == set(SessionEvent.__subclasses__())


class TestIntrospection:
    @pytest.fixture
    def introspected(self):
        def introspected(config):
            return [
                text
                for _, category in config.introspector.categorized()
                for item in category
                for each in (item["introspectable"], *item["related"])
                if each.category_name in ("session plug", "session factory")
                for text in (repr(dict(each)), each.title, repr(each.discriminator), repr(each))
            ]

        return introspected

    def test_shows_no_secret(self, introspected, secrets):
        with Configurator(settings={"pluggable_session.secret": SECRET}) as config:
            config.include("pyramid_pluggable_session")
            config.set_session_plug("memory")
            config.commit()
        assert len(introspected(config)) >= 8
        assert secrets.in_(*introspected(config)) == []

    @pytest.mark.parametrize(
        "url",
        [
            "sqlite://user:{password}@{path}",
            "sqlite://:{password}@{path}",
            "sqlite://:x@{password}@{path}",
        ],
    )
    def test_shows_no_password_of_a_url(self, introspected, secrets, url, tmp_path):
        url = url.format(password=PASSWORD, path=tmp_path / "sessions.db")
        with Configurator(settings={"pluggable_session.secret": SECRET}) as config:
            config.include("pyramid_pluggable_session")
            config.set_session_plug(url)
            config.commit()
        assert secrets.in_(*introspected(config)) == []
        config.registry.getUtility(IPlugSession).close()

    @pytest.mark.parametrize(
        "url",
        [
            "redis://:{password}@db/0",
            "redis://user:{password}@db/0",
            "redis://:x/{password}@db/0",
            "redis://:{password}/x@db/0",
            "redis://:x@{password}@db/0",
            "redis://:x?{password}@db/0",
            "redis://db/0?password={password}",
            "redis://db/0?a=b&password={password}&c=d",
            "redis//:{password}@db/0",
            "redis:user:{password}@db/0",
        ],
    )
    def test_hides_the_password_of_any_url(self, url):
        shown = show(url.format(password=PASSWORD))
        assert PASSWORD not in shown
        assert "db/0" in shown


class TestResponses:
    def test_hold_no_id_and_no_data_but_what_the_view_puts_there(self, secrets):
        client = secrets.of(visitor(App(), word=VALUE))
        response = client.do(dict)
        assert secrets.in_(response.headers, response.text) == []

    def test_hold_no_new_id_if_it_is_not_stored(self):
        response = App().client().do(lambda session: session.session_id)
        assert response.result not in str(response.headers)

    def test_hold_no_id_in_the_csrf_token(self):
        app = App()
        client = app.client()
        token = client.do(lambda session: session.get_csrf_token()).result
        assert token != client.session_id
        assert token not in client.cookie

    def test_hold_nothing_of_a_session_that_could_not_be_saved(self):
        class Full(CountingPlug):
            def swap(self, session, request, expected, session_data):
                raise OSError(errno.ENOSPC, "No space left on device")

        app = App(plug=Full())

        def view(request):
            request.session["word"] = VALUE
            return Response(f"made for a session: {get_csrf_token(request)}, {VALUE}")

        response = app.client().request(view, status=503)
        assert VALUE not in response.text
        assert "Set-Cookie" not in response.headers
