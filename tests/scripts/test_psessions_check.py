"""``psessions check``: the configuration explained, what is risky, and the storage tried."""

from __future__ import annotations

import json
import os
import pathlib
import re
import time

import pytest
from sites import SECRET, Site, as_json
from zope.interface import implementer

from pyramid_pluggable_session.interfaces import IPlugSession
from pyramid_pluggable_session.options import CORE_OPTIONS
from pyramid_pluggable_session.plugs.memory import MemoryPlug
from pyramid_pluggable_session.plugs.sqlite import SqlitePlug
from pyramid_pluggable_session.scripts import checks, probe
from pyramid_pluggable_session.storage import Storage
from storages import ON_DISK, ON_SERVERS
from test_docs import STORAGES, configurations

TESTED = {**ON_DISK, **ON_SERVERS}
ROOT = pathlib.Path(__file__).parents[2]
GOOD = {"secure": "true", "timeout": "1800", "lifetime": "86400"}


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path, f"sqlite://{tmp_path}/sessions.db", **GOOD)


def check(site, capsys, *arguments):
    """Return the exit code and the report."""
    code = site.run("check", "--json", *arguments)
    (report,) = as_json(capsys)
    return code, report


def found(report, name):
    """Return the findings of a check, as status, message and remedy."""
    return [
        (each["status"], each["message"], each["remedy"])
        for each in report["findings"]
        if each["check"] == name
    ]


VERSIONS = {
    "file": set(),
    "sqlite": {"SQLite"},
    "lmdb": {"LMDB", "lmdb"},
    "migration": {"SQLite"},
    "valkey": {"Valkey", "redis-py"},
    "redis": {"Redis", "redis-py"},
    "sentinel": {"Valkey", "redis-py"},
    "cluster": {"Valkey", "redis-py"},
    "memcached": {"memcached", "pymemcache"},
    "postgresql": {"postgresql", "psycopg", "SQLAlchemy"},
    "mariadb": {"MariaDB", "pymysql", "SQLAlchemy"},
    "mongodb": {"MongoDB", "pymongo"},
    "dynamodb": {"boto3"},
    "datastore": {"google-cloud-datastore"},
}
TELL_THE_TIME = {
    "valkey", "redis", "sentinel", "cluster", "memcached", "postgresql", "mariadb", "mongodb",
}  # fmt: skip


@pytest.mark.parametrize("storage", TESTED)
def test_on_every_storage(storage, url_of, tmp_path, capsys):
    url = url_of(storage)
    options = {"dynamodb.create_table": "true"} if storage == "dynamodb" else {}
    site = Site(tmp_path, url, salt=f"check {storage}", **GOOD, **options)
    code, report = check(site, capsys, "--strict")
    assert (code, report["status"]) == (0, "OK"), report["findings"]
    assert set(report["milliseconds"]) == {"dumps", "loads", "swap", "clear"}
    assert all(milliseconds > 0 for milliseconds in report["milliseconds"].values())
    if storage == "dbm":
        assert next(iter(report["versions"])).startswith("dbm.")
    else:
        assert set(report["versions"]) == VERSIONS[storage]
    assert all(re.search(r"\d\.\d", version) for version in report["versions"].values())
    if storage in TELL_THE_TIME:
        assert abs(report["clock_ahead"]) < checks.MOST_SKEW
    else:
        assert report["clock_ahead"] is None
    ((_, abilities, _),) = found(report, "abilities")
    assert abilities.endswith(": load, store, swap, scan, purge")


class TestSettings:
    def settings(self, report):
        return {each["name"]: each for each in report["settings"]}

    def test_every_option_is_there(self, site, capsys):
        _, report = check(site, capsys)
        names = [each.name for each in CORE_OPTIONS]
        plugs = [f"sqlite.{each.name}" for each in SqlitePlug.options]
        assert [each["name"] for each in report["settings"]] == [*names, "plug", *plugs]
        assert all(each["help"] for each in report["settings"])

    def test_which_are_not_the_default(self, site, capsys):
        _, report = check(site, capsys)
        changed = {each["name"] for each in report["settings"] if not each["is_default"]}
        assert changed == {"secret", "secure", "timeout", "lifetime", "plug", "sqlite.path"}

    def test_as_one_would_write_them(self, tmp_path, capsys):
        site = Site(tmp_path, f"sqlite://{tmp_path}/s.db", samesite="", serializer="json pickle")
        _, report = check(site, capsys)
        values = {each["name"]: each["value"] for each in report["settings"]}
        assert values["secure"] == "auto"
        assert values["samesite"] == "(left out)"
        assert values["lifetime"] == "none"
        assert values["timeout"] == "1200"
        assert values["httponly"] == "true"
        assert values["serializer"] == "json pickle"

    def test_objects_by_their_names(self, tmp_path, capsys):
        site = Site(tmp_path, "memory", on_outage="json.dumps")
        _, report = check(site, capsys)
        assert self.settings(report)["on_outage"]["value"] == "json.dumps"

    def test_no_secrets(self, tmp_path, capsys):
        url = "redis://app:hunter2@127.0.0.1:1/0"
        for site in (
            Site(tmp_path, url),
            Site(tmp_path, "chain", **{"chain.plugs": f"memory {url}"}),
            Site(tmp_path, "redis", **{"redis.url": url.replace("app:hunter2@", ""),
                                       "redis.password": "hunter2"}),
        ):  # fmt: skip
            for arguments in ([], ["--json"], ["--verbose"]):
                assert site.run("check", *arguments) == 1
                printed = capsys.readouterr()
                text = printed.out + printed.err
                assert "hunter2" not in text
                assert SECRET not in text
                assert "(hidden)" in text

    def test_for_people(self, site, capsys):
        assert site.run("check") == 0
        text = capsys.readouterr().out
        assert re.search(r"(?m)^\* timeout = 1800$", text)
        assert re.search(r"(?m)^  cookie_name = session$", text)
        assert "Name of the cookie." not in text
        assert site.run("check", "-v") == 0
        assert "cookie_name = session\n      Name of the cookie.\n" in capsys.readouterr().out

    def test_a_plug_that_is_given_as_such(self, tmp_path, capsys):
        site = Site(tmp_path, f"{__name__}.make_plain")
        code, report = check(site, capsys)
        assert code == 0
        assert self.settings(report)["plug"]["value"] == f"{__name__}.make_plain"
        assert [each["name"] for each in report["settings"]][-1] == "plug"


class TestRisks:
    def test_none(self, site, capsys):
        code, report = check(site, capsys, "--strict")
        assert code == 0
        assert found(report, "settings") == [("OK", "nothing that makes sessions weak", None)]

    @pytest.mark.parametrize(
        ("settings", "remedy"),
        [
            ({"secret": "short"}, "make a better one with: python -c"),
            ({"secure": "false"}, "set it to true, or to auto"),
            ({"httponly": "false"}, "set it to true"),
            ({"samesite": ""}, "set it to Lax"),
            ({"serializer": "pickle"}, "set it to msgpack"),
            ({"hashalg": "md5"}, "set it to sha256"),
            ({"timeout": "none"}, "set a timeout, a lifetime, or both"),
        ],
    )
    def test_each_with_its_remedy(self, tmp_path, settings, remedy, capsys):
        site = Site(tmp_path, f"sqlite://{tmp_path}/sessions.db", **settings)
        code, report = check(site, capsys)
        ((status, message, told),) = found(report, "settings")
        assert (code, status, report["status"]) == (0, "WARN", "WARN")
        assert message.startswith(f"pluggable_session.{next(iter(settings))} ")
        assert told.startswith(remedy)
        assert check(site, capsys, "--strict")[0] == 1

    def test_for_people(self, tmp_path, capsys):
        site = Site(tmp_path, f"sqlite://{tmp_path}/sessions.db", httponly="false")
        assert site.run("check") == 0
        lines = capsys.readouterr().out.splitlines()
        at = next(n for n, line in enumerate(lines) if line.startswith("WARN  settings    "))
        assert lines[at + 1] == "      -> set it to true"
        assert re.fullmatch(r"WARN: 0 failed, 1 to look at, \d good", lines[-1])

    def test_memory(self, tmp_path, capsys):
        _, report = check(Site(tmp_path, "memory"), capsys)
        ((status, message, remedy),) = found(report, "storage")
        assert (status, message) == ("WARN", MemoryPlug.caution)
        assert "psessions is a process of its own" in remedy

    def test_what_was_said_when_the_application_was_made(self, tmp_path, capsys):
        path = tmp_path / "sessions.db"
        path.touch()
        path.chmod(0o644)
        _, report = check(Site(tmp_path, f"sqlite://{path}"), capsys)
        ((status, message, _),) = found(report, "settings")
        assert status == "WARN"
        assert message.endswith(f"{path} can be read by everybody. Run chmod o-rwx {path}")

    def test_a_rotation_that_has_not_ended(self, tmp_path, capsys):
        plug = f"sqlite://{tmp_path}/sessions.db"
        site = Site(tmp_path, plug, secret=f"{SECRET}\n  {SECRET[::-1]}")
        code, report = check(site, capsys, "--strict")
        ((status, message, remedy),) = found(report, "secret")
        assert (code, status) == (0, "OK")
        assert message.startswith("there are 2 secrets")
        assert f"psessions {site.ini} rekey, wait until the time that it prints" in remedy

    def test_what_it_lacks(self, tmp_path, capsys):
        _, report = check(Site(tmp_path, "cookie"), capsys)
        told = found(report, "abilities")
        assert told[0] == ("OK", "cookie: load, store", None)
        assert [status for status, _, _ in told[1:]] == ["WARN", "OK", "OK"]
        assert [message.split(":")[0] for _, message, _ in told[1:]] == [
            "no swap", "no scan", "no purge",
        ]  # fmt: skip
        assert found(report, "round trip")[0][1].startswith("none to make")


@implementer(IPlugSession)
class Plain:
    """A plug of three methods, with a fault on demand."""

    fault = None

    def __init__(self):
        self.records = {}

    def loads(self, session, request):
        if self.fault == "forgets":
            return None
        if self.fault == "raises":
            raise TypeError("of " + session.session_id)
        return self.records.get(session.session_id)

    def dumps(self, session, request, session_data):
        self.records[session.session_id] = session_data

    def clear(self, session, request):
        if self.fault != "keeps":
            self.records.pop(session.session_id, None)


def make_plain(config):
    return Plain()


class Wrong(MemoryPlug):
    """A plug whose swap does as it likes."""

    answer = True
    name = "wrong"

    def swap(self, session, request, expected, session_data):
        return self.answer


class TestRoundTrip:
    def test_for_people(self, site, capsys):
        assert site.run("check") == 0
        assert re.search(
            r"(?m)^OK    round trip  dumps [\d.]+ ms, loads [\d.]+ ms, swap [\d.]+ ms, "
            r"clear [\d.]+ ms; the first [\d.]+ ms$",
            capsys.readouterr().out,
        )

    def test_nothing_is_left(self, site, capsys):
        (name,) = site.fill({"a": 1})
        assert check(site, capsys)[0] == 0
        assert site.run("list", "--all", "--json") == 0
        assert [each["handle"] for each in as_json(capsys)] == [name]

    @pytest.mark.parametrize(
        ("fault", "told"),
        [
            ("forgets", "what was stored did not come back as it was"),
            ("keeps", "what was deleted is still there"),
            ("raises", "the Plain plug failed: TypeError: of (session id)"),
        ],
    )
    def test_a_storage_that_does_not_work(self, tmp_path, fault, told, capsys, monkeypatch):
        monkeypatch.setattr(Plain, "fault", fault)
        code, report = check(Site(tmp_path, f"{__name__}.make_plain"), capsys)
        assert (code, report["status"]) == (1, "FAIL")
        ((status, message, _),) = found(report, "round trip")
        assert (status, message) == ("FAIL", told)
        assert found(report, "versions") == []

    @pytest.mark.parametrize(
        ("answer", "told"),
        [(True, "a swap did not compare"), (False, "a swap was refused")],
    )
    def test_a_swap_that_is_none(self, answer, told):
        plug = Wrong()
        plug.answer = answer
        with pytest.raises(probe.Wrong, match=told):
            probe.round_trips(Storage(plug, None))
        assert list(plug.scan()) == []

    def test_a_swap_that_stores_nothing(self):
        plug = Wrong()
        answers = iter((True, False))
        plug.swap = lambda *arguments: next(answers)
        with pytest.raises(probe.Wrong, match="swapped did not come back"):
            probe.round_trips(Storage(plug, None))

    def test_down(self, tmp_path, capsys):
        code, report = check(Site(tmp_path, "redis://app:hunter2@127.0.0.1:1/0"), capsys)
        assert code == 1
        ((status, message, _),) = found(report, "round trip")
        assert status == "FAIL"
        assert "pluggable_session.redis.url" in message

    def test_a_front_that_is_down(self, tmp_path, capsys):
        plugs = f"redis://127.0.0.1:1/0 sqlite://{tmp_path}/sessions.db"
        code, report = check(Site(tmp_path, "chain", **{"chain.plugs": plugs}), capsys)
        assert code == 0
        assert found(report, "round trip")[0][0] == "OK"
        assert any(status == "WARN" for status, _, _ in found(report, "round trip")[1:])


class TestVersions:
    def test_of_a_chain(self, tmp_path, capsys):
        plugs = f"memory sqlite://{tmp_path}/sessions.db"
        _, report = check(Site(tmp_path, "chain", **{"chain.plugs": plugs}), capsys)
        assert set(report["versions"]) == {"SQLite"}
        assert report["clock_ahead"] is None

    def test_who_may_not_ask(self, site, capsys, monkeypatch):
        def refuse(self):
            raise PermissionError(13, "not for you")

        monkeypatch.setattr(SqlitePlug, "versions", refuse)
        monkeypatch.setattr(SqlitePlug, "server_time", refuse, raising=False)
        code, report = check(site, capsys, "--strict")
        assert code == 0
        assert found(report, "versions") == [
            ("OK", "not known: PermissionError: not for you", None)
        ]
        assert report["clock_ahead"] is None


class TestClock:
    def test_of_the_storage(self, site, capsys, monkeypatch):
        for ahead, status in ((0.5, "OK"), (90.0, "WARN"), (-90.0, "WARN")):
            there = lambda self, ahead=ahead: time.time() + ahead  # noqa: E731
            monkeypatch.setattr(SqlitePlug, "server_time", there, raising=False)
            _, report = check(site, capsys)
            ((found_status, message, remedy),) = found(report, "clock")
            assert found_status == status
            assert abs(report["clock_ahead"] - ahead) < 2
            if status == "WARN":
                assert "90 s" in message
                assert ("ahead of" if ahead > 0 else "behind") in message
                assert "NTP" in remedy

    def test_a_storage_that_cannot_tell(self, site, capsys, monkeypatch):
        monkeypatch.setattr(SqlitePlug, "server_time", lambda self: None, raising=False)
        assert check(site, capsys)[1]["clock_ahead"] is None

    def test_a_file_of_the_future(self, site, capsys):
        os.utime(site.ini, (time.time() + 7200, time.time() + 7200))
        ((status, message, _),) = found(check(site, capsys)[1], "clock")
        assert status == "WARN"
        assert re.search(r"at least (2 h|120 min) behind", message)

    def test_long_ago(self, monkeypatch):
        monkeypatch.setattr(time, "time", lambda: 3600.0)
        finding = checks.check_clock(0.0, ())
        assert (finding.status, finding.message) == ("FAIL", "this machine believes it is 1970")

    def test_without_files(self):
        assert checks.check_clock(None, ("", "nowhere")).status == "OK"


class TestDocumented:
    """The configurations of the documentation and the examples, with a secret of one's own."""

    def test_the_ini_files(self, tmp_path, capsys):
        inis = [
            (ROOT / "examples/minimal/development.ini").read_text(),
            *re.findall(r"(?ms)^```ini\n(\[app:main\].*?)^```$", (ROOT / "README.md").read_text()),
        ]
        assert len(inis) >= 3
        for ini in inis:
            text = re.sub(r"(?m)^(pluggable_session.secret = ).*", rf"\g<1>{SECRET}", ini)
            text = re.sub(r"(?m)^use = .*\n", "", text, count=1)
            site = Site(tmp_path, "memory")
            site.ini.write_text(text.replace("[app:main]", "[app:main]\nuse = call:sites:app"))
            code, report = check(site, capsys)
            assert (code, report["status"]) == (0, "OK"), report["findings"]

    def test_the_secret_that_it_has(self, tmp_path, capsys):
        site = Site(tmp_path, "memory")
        text = (ROOT / "examples/minimal/development.ini").read_text()
        site.ini.write_text(text.replace("call:app:main", "call:sites:app"))
        assert site.run("check") == 2
        assert "Make your own with" in capsys.readouterr().err

    @pytest.mark.parametrize(
        "settings",
        [each for each in configurations(STORAGES) if "myapp" not in str(each)],
        ids=lambda settings: settings["pluggable_session.plug"],
    )
    def test_the_storages(self, settings, tmp_path, capsys, monkeypatch):
        """Their servers are not there, and `check` says so: neither silence nor a traceback."""
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "none")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "none")
        # Addresses of this machine that nobody listens on, and as many as there are names.
        addresses = map("127.0.0.{}".format, range(200, 250))
        site = Site(tmp_path, "memory")
        lines = ["[app:main]", "use = call:sites:app", f"pluggable_session.secret = {SECRET}"]
        for name, value in settings.items():
            place = re.sub(
                r"(?<=[/@,])(localhost|[\w.]+\.example\.org|(sentinel|node|cache|db)\d)(?=[:/,])",
                lambda match: next(addresses),
                value.replace("/var/lib/app", str(tmp_path)),
            )
            lines.append(f"{name} = {place}")
        site.ini.write_text("\n".join(lines) + "\n")
        code = site.run("check")
        printed = capsys.readouterr()
        assert "app:secret" not in printed.out + printed.err
        if code == 0:
            assert "OK    round trip" in printed.out
        elif code == 1:
            assert re.search(r"(?m)^FAIL  round trip  session storage \w+ failed", printed.out)
        else:
            assert (code, printed.out) == (2, "")
            assert len(printed.err.splitlines()) == 1


def test_json_is_one_document(site, capsys):
    assert site.run("check", "--json") == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert set(json.loads(line)) == {
        "status", "settings", "findings", "milliseconds", "versions", "clock_ahead",
    }  # fmt: skip
