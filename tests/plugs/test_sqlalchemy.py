"""The sqlalchemy plug on SQLite, and what does not depend on the database.

``test_sqlalchemy_postgresql.py`` and ``test_sqlalchemy_mariadb.py`` have the servers.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time

import pytest
import sqlalchemy
from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy_tools import failure, plugs

from pyramid_pluggable_session.loader import find_plug
from pyramid_pluggable_session.loader import make_plug as load_plug
from pyramid_pluggable_session.plugs.sqlalchemy import SqlalchemyPlug, database, dialects, drivers
from pyramid_pluggable_session.plugs.sqlalchemy.__main__ import main
from pyramid_pluggable_session.plugs.sqlalchemy.remedies import is_missing_table, remedy
from pyramid_pluggable_session.plugs.sqlalchemy.table import create, sessions_table
from pyramid_pluggable_session.testing import PlugContract, session_key
from timing import PATIENCE, again_if_slow, wait_for_purges, within


@pytest.fixture
def folder():
    """A directory in memory if possible, as SQLite waits for the disk with every write."""
    path = tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def url(folder):
    return f"sqlite+pysqlite:///{folder}/sessions.db"


@pytest.fixture
def make(url):
    with plugs(url=url) as make:
        yield make


class TestSqlite(PlugContract):
    @pytest.fixture
    def make_plug(self, make):
        return make


class TestAnyOtherDatabase(PlugContract):
    """What every database understands, tried on SQLite."""

    @pytest.fixture
    def make_plug(self, make, monkeypatch):
        monkeypatch.delitem(dialects._DIALECTS, "sqlite")
        return make

    def test_somebody_else_inserts_meanwhile(self, make_plug, monkeypatch):
        plug, key = make_plug(), session_key()
        assert type(plug._statements) is dialects.Statements
        execute, other = dialects.execute, make_plug()

        def race(connection, statement, values):
            if statement is plug._statements.insert:
                other.dumps(key, None, b"theirs")
            return execute(connection, statement, values)

        monkeypatch.setattr(dialects, "execute", race)
        plug.dumps(key, None, b"ours")
        assert plug.loads(key, None) == b"ours"
        plug.clear(key, None)
        assert plug.swap(key, None, None, b"ours") is False
        assert plug.loads(key, None) == b"theirs"


class TestConfiguration:
    def refused(self, *words, **options):
        with pytest.raises(ConfigurationError) as caught:
            SqlalchemyPlug(None, **options)
        for word in words:
            assert word in str(caught.value)
        assert "pa$$word" not in str(caught.value)
        assert caught.value.__cause__ is None or isinstance(caught.value.__cause__, ImportError)

    def test_neither_url_nor_engine(self):
        self.refused("pluggable_session.sqlalchemy.url", "pluggable_session.sqlalchemy.engine")

    def test_both_url_and_engine(self, url):
        self.refused("Set one of", url=url, engine=sqlalchemy.create_engine(url))

    @pytest.mark.parametrize(
        "url", ["nonsense", "postgresql//host", "postgresql://u:pa$$word@host:port/db", "a b://"]
    )
    def test_not_a_url(self, url):
        self.refused("must be a URL such as", "percent-encoded", url=url)

    def test_unknown_dialect(self):
        self.refused("knows no 'nosuchbase'", url="nosuchbase://u:pa$$word@host/database")

    @pytest.mark.parametrize("port", [0, 65536])
    def test_bad_port(self, port):
        self.refused(f"no port {port}", url=f"postgresql://u:pa$$word@host:{port}/database")

    @pytest.mark.parametrize("scheme", ["postgresql", "mysql", "mariadb"])
    def test_no_database(self, scheme):
        self.refused("names no database", f"{scheme}+", url=f"{scheme}://u:pa$$word@host")

    @pytest.mark.parametrize(
        "url",
        [
            "sqlite+pysqlite://",
            "sqlite+pysqlite:///",
            "sqlite+pysqlite:///:memory:",
            "sqlite+pysqlite:///file::memory:?uri=true",
        ],
    )
    def test_in_memory(self, url):
        self.refused("memory plug", url=url)

    @pytest.mark.parametrize(
        "url",
        [
            "postgresql+asyncpg://host/database",
            "postgresql+psycopg_async://host/database",
            "mysql+aiomysql://host/database",
            "sqlite+aiosqlite:////tmp/database",
        ],
    )
    def test_asynchronous_driver(self, url):
        self.refused("is an asynchronous driver", url=url)

    @pytest.mark.parametrize(
        ("url", "module", "extra"),
        [
            ("postgresql://host/database", "psycopg", "postgresql"),
            ("mysql://host/database", "pymysql", "mysql"),
            ("mariadb://host/database", "pymysql", "mysql"),
        ],
    )
    def test_driver_that_is_not_installed(self, monkeypatch, url, module, extra):
        monkeypatch.setitem(sys.modules, module, None)
        self.refused(
            f"the driver {module} is not installed",
            f"pip install 'pyramid_pluggable_session[{extra}]'",
            "or name another driver in the URL",
            url=url,
        )

    def test_other_driver_that_is_not_installed(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "psycopg2", None)
        url = "postgresql+psycopg2://host/database"
        self.refused("the driver psycopg2 is not installed", "Install it, or", url=url)

    def test_not_an_engine(self):
        self.refused("must be an Engine of SQLAlchemy, not str", engine=lambda config: "other")

    def test_no_connections(self, url):
        self.refused("pool_size must be 1 or more", url=url, pool_size=0)

    @pytest.mark.parametrize(
        "url",
        [
            "postgresql://user:pa$$word@host/database?sslmode=require&keepalives=1",
            "postgresql:///database?host=/var/run/postgresql",
            "postgresql://?service=web",
            "mysql://user:pa$$word@host/database?charset=utf8mb4&ssl_ca=/ca.pem&ssl_cipher=AES",
            "mariadb:///database?unix_socket=/run/mysqld.sock",
            "mysql+pymysql://host/database?ssl_check_hostname=false",
        ],
    )
    def test_nothing_is_asked_of_the_server(self, url):
        # There is none.
        SqlalchemyPlug(url=url)

    def test_password_is_not_shown(self):
        spec = "postgresql://user:pa$$word@host/database?password=other"
        found = find_plug(None, spec)
        assert "pa$$word" not in repr(found.shown_options())
        assert "other" not in repr(found.shown_options())
        plug = found.make(None)
        assert "pa$$word" not in repr(plug) + repr(plug._engine())

    def test_engine_of_the_application(self, url):
        engine = sqlalchemy.create_engine(url)
        settings = {"pluggable_session.sqlalchemy.engine": "app.engine"}
        with Configurator(settings=settings) as config:
            config.registry.engine = engine
            settings = config.registry.settings
            settings["pluggable_session.sqlalchemy.engine"] = lambda config: config.registry.engine
            plug = load_plug(config, "sqlalchemy")
        key = session_key()
        plug.dumps(key, None, b"record")
        assert plug.loads(key, None) == b"record"
        plug.close()
        assert engine.pool.checkedin() == 1
        engine.dispose()

    def test_absolute_and_relative_paths(self, folder, monkeypatch):
        monkeypatch.chdir(folder)
        key = session_key()
        for spec in (f"sqlite+pysqlite:///{folder}/here.db", "sqlite+pysqlite:///here.db"):
            plug = load_plug(None, spec)
            if not os.path.exists(f"{folder}/here.db"):
                plug.dumps(key, None, b"record")
            assert plug.loads(key, None) == b"record"
            plug.close()


class TestTimeouts:
    @pytest.mark.parametrize(
        ("driver", "expected"),
        [
            ("psycopg2", {"connect_timeout": 2, "options": "-c statement_timeout=2500"}),
            ("pymysql", {"connect_timeout": 1.5, "read_timeout": 2.5, "write_timeout": 2.5}),
            ("mysqldb", {"connect_timeout": 2, "read_timeout": 3, "write_timeout": 3}),
            ("pysqlite", {"timeout": 2.5}),
            ("nobody knows", {}),
        ],
    )
    def test_in_the_words_of_the_driver(self, driver, expected):
        url = sqlalchemy.make_url("postgresql://host/database")
        found = drivers.timeouts(url, driver, 1.5, 2.5)
        assert {name: found.get(name) for name in expected} == expected
        assert found or not expected

    def test_several_options_in_the_url(self):
        url = sqlalchemy.make_url("postgresql://h/d?options=-c%20a%3D1&options=-c%20b%3D2")
        found = drivers.timeouts(url, "psycopg", 1, 1)
        assert found["options"] == "-c a=1 -c b=2 -c statement_timeout=1000"

    @again_if_slow(2)
    def test_locked_database(self, url, make):
        plug, key = make(timeout=0.2), session_key()
        plug.dumps(key, None, b"record")
        engine = sqlalchemy.create_engine(url)
        with engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            with within(2, at_least=0.15):
                message = failure(plug, "dumps")
        assert "raise pluggable_session.sqlalchemy.timeout" in message
        engine.dispose()
        plug.dumps(key, None, b"other")


class FailingConnection:
    def __init__(self, *errors):
        self.errors = list(errors)
        self.calls = 0

    def execute(self, statement, values):
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "result"


def driver_error(*args, **attributes):
    orig = Exception(*args)
    vars(orig).update(attributes)
    return OperationalError("statement", {}, orig)


class TestDeadlocks:
    @pytest.mark.parametrize(
        "error",
        [
            driver_error(1213, "Deadlock found"),
            driver_error("deadlock detected", sqlstate="40P01"),
            driver_error("could not serialize", pgcode="40001"),
        ],
    )
    def test_are_tried_again(self, error):
        connection = FailingConnection(error, error)
        assert dialects.execute(connection, None, {}) == "result"
        assert connection.calls == 3

    def test_not_for_ever(self):
        connection = FailingConnection(*[driver_error(1213, "Deadlock found")] * 9)
        with pytest.raises(DBAPIError):
            dialects.execute(connection, None, {})
        assert connection.calls == 5

    @pytest.mark.parametrize(
        "error",
        [
            driver_error(),
            driver_error(1205, "Lock wait timeout exceeded"),
            driver_error("unknown whether done", sqlstate="40003"),
            driver_error(2013, "Lost connection"),
        ],
    )
    def test_nothing_else_is(self, error):
        connection = FailingConnection(error)
        with pytest.raises(DBAPIError):
            dialects.execute(connection, None, {})
        assert connection.calls == 1


class TestRepetition:
    def plug_that_fails(self, make, invalidated, seconds=0.0):
        plug, calls = make(), []
        plug.loads(session_key(), None)
        once = plug._database.once

        def fail_once(work):
            calls.append(work)
            if len(calls) > 1:
                return once(work)
            time.sleep(seconds)
            error = driver_error("gone")
            error.connection_invalidated = invalidated
            raise error

        plug._database.once = fail_once
        return plug, calls

    def test_on_a_connection_that_was_dropped(self, make, monkeypatch):
        monkeypatch.setattr(database, "_AT_ONCE", PATIENCE)
        plug, calls = self.plug_that_fails(make, True)
        assert plug.loads(session_key(), None) is None
        assert len(calls) == 2
        plug, calls = self.plug_that_fails(make, True)
        plug.clear(session_key(), None)
        assert len(calls) == 2

    def test_not_after_other_errors(self, make):
        plug, calls = self.plug_that_fails(make, False)
        with pytest.raises(DBAPIError):
            plug.loads(session_key(), None)
        assert len(calls) == 1

    def test_not_after_a_timeout(self, make):
        plug, calls = self.plug_that_fails(make, True, seconds=0.6)
        with pytest.raises(DBAPIError):
            plug.loads(session_key(), None)
        assert len(calls) == 1

    @pytest.mark.parametrize("operation", ["dumps", "swap"])
    def test_not_of_a_write(self, make, operation):
        plug, calls = self.plug_that_fails(make, True)
        expected = [b"expected"] if operation == "swap" else []
        with pytest.raises(DBAPIError):
            getattr(plug, operation)(session_key(), None, *expected, b"record")
        assert len(calls) == 1


class TestErrors:
    def test_no_data_in_them(self, make):
        plug, key = make(create=False, table="missing"), session_key()
        with pytest.raises(plug.outages) as caught:
            plug.swap(key, None, b"precious old", b"precious new")
        error = caught.value
        shown = f"{error}{error!r}{vars(error)}{error.args}"
        assert "precious" not in shown
        assert key.session_id not in shown
        assert "no such table" in failure(plug)

    def test_large_record_is_not_always_the_reason(self, make):
        plug = make(create=False, table="missing")
        with pytest.raises(plug.outages, match="no such table"):
            plug.dumps(session_key(), None, b"x" * 1_000_000)

    def test_large_record_on_a_connection_that_was_dropped(self, make):
        # SQLite has no limit that could be the reason.
        plug = make()
        plug.loads(session_key(), None)
        error = driver_error("gone")
        error.connection_invalidated = True

        def fail(connection, values):
            raise error

        plug._statements.store = fail
        with pytest.raises(DBAPIError, match="gone"):
            plug.dumps(session_key(), None, b"x" * 1_000_000)
        # Nor can a server that is not there tell its limit.
        plug._statements.packet_limit = lambda connection: fail(connection, None)
        with pytest.raises(DBAPIError, match="gone"):
            plug.dumps(session_key(), None, b"x" * 1_000_000)

    @pytest.mark.parametrize(
        ("words", "advice"),
        [
            ("Connections using insecure transport are prohibited", "?ssl_ca="),
            ("unsupported startup parameter: options", "PgBouncer"),
            ("attempt to write a readonly database", "lead to the primary"),
            ("unable to open database file", "check the path"),
            ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed", "check the certificate"),
            ("something unheard of", None),
        ],
    )
    def test_remedies(self, words, advice):
        found = remedy(driver_error(words))
        assert found is None if advice is None else advice in found

    def test_name_of_a_table_is_no_message(self):
        error = OperationalError("SELECT * FROM certificate", {}, Exception("unheard of"))
        assert remedy(error) is None
        assert not is_missing_table(error)


class TestTable:
    class Connection:
        """To a database where others may create the table at any moment."""

        def __init__(self, *there, comes=()):
            self.there, self.comes, self.executed = set(there), comes, []
            self.dialect = self

        def has_table(self, connection, name, schema=None):
            return "table" in self.there

        def has_index(self, connection, table, name, schema=None):
            return "index" in self.there

        def execute(self, statement):
            self.executed.append(type(statement).__name__)
            self.there.update(self.comes)
            raise driver_error("refused")

    @pytest.mark.parametrize("there", [[], ["table"]])
    def test_failure_to_create_it(self, there):
        with pytest.raises(DBAPIError, match="refused"):
            create(self.Connection(*there), sessions_table("sessions"))

    @pytest.mark.parametrize(
        ("there", "statement"), [([], "CreateTable"), (["table"], "CreateIndex")]
    )
    def test_somebody_else_creates_it_meanwhile(self, there, statement):
        connection = self.Connection(*there, comes=["table", "index"])
        create(connection, sessions_table("sessions"))
        assert connection.executed == [statement]

    def test_a_missing_index_is_created(self, url, make):
        make(table="sessions").loads(session_key(), None)
        engine = sqlalchemy.create_engine(url)
        with engine.begin() as connection:
            connection.exec_driver_sql("DROP INDEX sessions_expires")
        make(table="sessions").loads(session_key(), None)
        assert [each["name"] for each in sqlalchemy.inspect(engine).get_indexes("sessions")] == [
            "sessions_expires"
        ]
        engine.dispose()

    def test_ddl(self, make):
        assert make(table="sessions").ddl() == (
            "CREATE TABLE sessions (\n\tid VARCHAR(64) NOT NULL, \n\tdata BLOB NOT NULL, \n\t"
            "expires DOUBLE, \n\tPRIMARY KEY (id)\n);\n\n"
            "CREATE INDEX sessions_expires ON sessions (expires);"
        )

    @pytest.mark.parametrize(
        ("database", "words"),
        [
            ("postgresql", ["id VARCHAR(64)", "data BYTEA", "expires DOUBLE PRECISION"]),
            ("mysql", ["id CHAR(64) CHARACTER SET ascii COLLATE ascii_bin", "data LONGBLOB"]),
            ("mariadb", ["id CHAR(64) CHARACTER SET ascii COLLATE ascii_bin", "data LONGBLOB"]),
            ("mssql", ["id VARCHAR(64)", "data VARBINARY(max)", "expires DOUBLE PRECISION"]),
            ("oracle", ["id VARCHAR2(64 CHAR)", "data BLOB", "expires DOUBLE PRECISION"]),
        ],
    )
    def test_ddl_on_the_command_line(self, capsys, database, words):
        assert main([database, "visits", "web"]) is None
        printed = capsys.readouterr().out
        assert "CREATE TABLE web.visits (" in printed
        assert "INDEX" in printed
        for word in words:
            assert word in printed

    def test_usage(self, capsys):
        assert main(["postgresql"]) is None
        assert "CREATE TABLE sessions" in capsys.readouterr().out
        for arguments in ([], ["postgresql", "a", "b", "c"]):
            assert main(arguments).startswith("usage: python -m pyramid_pluggable_session.")
        assert "'nonsense' is no database" in main(["nonsense"])
        assert "'n n' is no database" in main(["n n"])

    def test_as_a_program(self):
        module = "pyramid_pluggable_session.plugs.sqlalchemy"
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", module, "mysql"],
            check=True,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert "CREATE TABLE sessions" in done.stdout
        assert done.stderr == ""


class TestStatements:
    def test_of_oracle_compare_blobs(self):
        statements = dialects.statements("oracle", sessions_table("sessions"))
        assert "dbms_lob.compare(sessions.data, :expected) = " in str(statements.replace)


class TestPurge:
    def test_is_bounded(self, make):
        plug = make()
        expired = session_key(-1).expires_at
        plug.loads(session_key(), None)
        with plug._engine().connect() as connection:
            rows = [{"id": f"{n:064x}", "data": b"", "expires": expired} for n in range(1700)]
            connection.execute(plug._table.insert(), rows)
        assert plug._purge(time.monotonic() - 1) == 500
        assert plug.purge() == 1200

    def test_happens_beside_the_writing(self, make):
        plug = make(purge_interval=0.02)
        plug.dumps(session_key(-1), None, b"expired")
        until = time.monotonic() + PATIENCE
        counting = sqlalchemy.select(sqlalchemy.func.count()).where(
            plug._table.c.data == b"expired"
        )
        while True:
            plug.dumps(session_key(), None, b"record")
            with plug._engine().connect() as connection:
                if not connection.scalar(counting):
                    break
            assert time.monotonic() < until
            time.sleep(0.01)
        wait_for_purges()
