import gc
import os
import pathlib
import re
import threading
import time

import psycopg
import pytest
import sqlalchemy
from pyramid.exceptions import ConfigurationError
from sqlalchemy_tools import failure, other_server, plugs, swap_that_is_cut_off

from certificates import certificate
from proxies import Proxy
from pyramid_pluggable_session.keys import SessionKey
from pyramid_pluggable_session.loader import make_plug as load_plug
from pyramid_pluggable_session.plugs.sqlalchemy import SqlalchemyPlug, database
from pyramid_pluggable_session.testing import PlugContract, session_key
from servers.postgresql import PostgreSQL
from timing import PATIENCE, again_if_slow, wait_for, within


@pytest.fixture(scope="session")
def postgresql(running):
    return running("postgresql")


@pytest.fixture(scope="module")
def tls(postgresql, tmp_path_factory):
    """A server that wants TLS."""
    server = PostgreSQL(tmp_path_factory.mktemp("tls"))
    server.hba = "hostssl all all 127.0.0.1/32 scram-sha-256\n"
    server.certificate, key = certificate(pathlib.Path(server.make_folder()))
    server.give(key)
    server.parameters.update(ssl="on", ssl_cert_file=server.certificate, ssl_key_file=key)
    with server:
        yield server


@pytest.fixture
def make(postgresql):
    with plugs(url=postgresql.url) as make:
        yield make


@pytest.fixture
def make_role(postgresql):
    """Return a function that makes a role of the name ``guest`` and returns its URL."""

    def make(**parts):
        postgresql.execute("CREATE ROLE guest LOGIN PASSWORD 'guest'")
        postgresql.execute("GRANT ALL ON SCHEMA public TO guest", "app")
        return postgresql.url_with(user="guest", password="guest", **parts)

    yield make
    postgresql.execute("DROP OWNED BY guest", "app")
    postgresql.execute("DROP ROLE guest")


class TestPostgresql(PlugContract):
    @pytest.fixture
    def make_plug(self, make):
        return make


class TestPostgresqlWithAnEngineOfTheApplication(PlugContract):
    many = 50

    @pytest.fixture
    def make_plug(self, postgresql):
        engine = sqlalchemy.create_engine(
            postgresql.url.replace("postgresql", "postgresql+psycopg"), pool_size=20
        )
        _engines.append(engine)
        with plugs(engine=engine) as make:
            yield make
        _engines.remove(engine)
        engine.dispose()


_engines = []


def _forget_connections():
    for engine in _engines:
        engine.dispose(close=False)


# As SQLAlchemy asks of applications that fork.
os.register_at_fork(after_in_child=_forget_connections)


class TestRoundTrips:
    @pytest.fixture
    def proxy(self, postgresql):
        with Proxy(postgresql) as proxy:
            yield proxy

    def test_one_for_each_operation(self, postgresql, make, proxy):
        plug, key = make(url=postgresql.url_with(port=proxy.port)), session_key()
        for _ in range(6):
            # psycopg has the server prepare a statement that a connection uses often: one more
            # round trip, once.
            plug.dumps(key, None, b"record")
            plug.loads(key, None)
            plug.swap(key, None, b"record", b"other")
            plug.swap(key, None, None, b"other")
            plug.clear(key, None)
        assert proxy.connections == 1
        for _ in range(3):
            with proxy.expect(1):
                plug.dumps(key, None, b"record")
            with proxy.expect(1):
                assert plug.loads(key, None) == b"record"
            with proxy.expect(1):
                assert plug.swap(key, None, b"record", b"other")
            with proxy.expect(1):
                assert not plug.swap(key, None, None, b"other")
            with proxy.expect(1):
                plug.clear(key, None)
            with proxy.expect(1):
                assert plug.swap(key, None, None, b"new")
        plug.dumps(session_key(-1), None, b"expired")
        with proxy.expect(2):
            assert plug.purge() == 1
        with proxy.expect(2):
            assert len(list(plug.scan())) == 1
        assert proxy.connections == 1

    def test_nothing_but_the_statement(self, postgresql, make):
        plug, key = make(), session_key()
        plug.loads(key, None)
        postgresql.execute("ALTER ROLE app SET log_statement = 'all'")
        try:
            plug.close()
            plug.dumps(key, None, b"record")
            with open(postgresql.log) as log:
                log.seek(0, os.SEEK_END)
                plug.dumps(key, None, b"record")
                plug.loads(key, None)
                plug.swap(key, None, b"record", b"other")
                # What the server has to say of itself does not count.
                logged = [line for line in log if re.search("LOG:  (statement|execute)", line)]
        finally:
            postgresql.execute("ALTER ROLE app RESET log_statement")
        words = [line.split(": ", 2)[2].split()[0] for line in logged]
        assert words == ["INSERT", "SELECT", "UPDATE"]


class TestConnections:
    def terminate(self, postgresql):
        postgresql.execute(
            "SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity WHERE usename = 'app'"
        )

    def test_dropped_while_idle(self, postgresql, make, monkeypatch):
        monkeypatch.setattr(database, "_AT_ONCE", PATIENCE)
        plug, key = make(), session_key()
        for operation in (
            lambda: plug.dumps(key, None, b"record"),
            lambda: plug.loads(key, None) == b"record",
            lambda: plug.swap(key, None, b"record", b"record"),
            lambda: plug.clear(key, None),
        ):
            plug.loads(key, None)
            self.terminate(postgresql)
            assert operation() in (None, True)

    def test_restart(self, tmp_path, postgresql, monkeypatch):
        monkeypatch.setattr(database, "_AT_ONCE", PATIENCE)
        with PostgreSQL(tmp_path) as server, plugs(url=server.url) as make:
            plug, key = make(), session_key()
            plug.dumps(key, None, b"record")
            server.stop()
            assert "see that the server runs" in failure(plug)
            assert "see that the server runs" in failure(plug, "dumps")
            server.start()
            plug.dumps(key, None, b"other")
            server.kill()
            server.start()
            assert plug.loads(key, None) == b"other"
            assert plug.swap(key, None, b"other", b"third")

    def test_dropped_in_the_middle(self, postgresql, make):
        plug = make()
        swap_that_is_cut_off(
            plug,
            lambda key: self.lock(postgresql, plug, key),
            lambda: self.wait_for_update(postgresql),
            lambda: self.terminate(postgresql),
        )

    def lock(self, postgresql, plug, key):
        connection = psycopg.connect(
            postgresql.url_with(user="postgres", password="super"), autocommit=False
        )
        table = plug._table.name
        connection.execute(f"SELECT * FROM {table} WHERE id = %s FOR UPDATE", [key.session_id])
        return connection

    def wait_for_update(self, postgresql):
        waiting = (
            "SELECT 1 FROM pg_stat_activity WHERE usename = 'app' AND wait_event_type = 'Lock'"
        )
        wait_for(lambda: postgresql.execute(waiting))

    @again_if_slow(2)
    def test_server_that_is_slow(self, postgresql, make):
        plug, key = make(timeout=0.4), session_key()
        make().dumps(key, None, b"record")
        wait_for(lambda: plug.loads(key, None) == b"record", despite=plug.outages)
        with (
            self.lock(postgresql, plug, key),
            within(2, at_least=0.3),
            pytest.raises(plug.outages, match="statement timeout") as caught,
        ):
            plug.dumps(key, None, b"other")
        assert "pluggable_session.sqlalchemy.timeout" in plug.remedy(caught.value)
        wait_for(lambda: plug.swap(key, None, b"record", b"other"), despite=plug.outages)

    @pytest.mark.parametrize("operation", ["loads", "dumps"])
    @again_if_slow(1.9)
    def test_server_that_hangs(self, postgresql, make, operation):
        plug, key = make(timeout=0.5), session_key()
        wait_for(lambda: plug.loads(key, None) is None, despite=plug.outages)
        postgresql.pause()
        try:
            with within(1.9, at_least=0.4):
                message = failure(plug, operation)
        finally:
            postgresql.resume()
        assert "no answer within 0.75 s (if the server is only slow" in message
        wait_for(lambda: plug.loads(key, None) is None, despite=plug.outages)

    @again_if_slow(4)
    def test_server_that_hangs_before_the_connection(self, postgresql, make):
        plug = make(timeout=0.5, connect_timeout=2)
        postgresql.pause()
        try:
            with within(4):
                message = failure(plug)
        finally:
            postgresql.resume()
        assert "see that the server runs" in message
        wait_for(lambda: plug.loads(session_key(), None) is None, despite=plug.outages)

    @again_if_slow(2)
    def test_exhausted_pool(self, postgresql, make):
        plug, key = make(pool_size=1, connect_timeout=0.3), session_key()
        wait_for(lambda: plug.loads(key, None) is None, despite=plug.outages)
        with plug._engine().connect(), within(2, at_least=0.25):
            assert "raise pluggable_session.sqlalchemy.pool_size" in failure(plug)
        assert plug.loads(key, None) is None

    def test_are_used_again(self, postgresql, make):
        plug, key = make(), session_key()
        for _ in range(20):
            plug.dumps(key, None, b"record")
            plug.loads(key, None)
        assert plug._engine().pool.checkedin() == 1

    def test_nothing_is_left_open(self, postgresql):
        # An unclosed connection is a ResourceWarning, here an error.
        plug = SqlalchemyPlug(url=postgresql.url, table="left", purge_interval=0)
        plug.loads(session_key(), None)
        pool = plug._engine().pool
        assert pool.checkedin() == 1
        del plug
        gc.collect()
        assert pool.checkedin() == 0

    def test_closed_plug_stays_usable(self, make):
        plug, key = make(), session_key()
        plug.close()
        plug.dumps(key, None, b"record")
        plug.close()
        assert plug.loads(key, None) == b"record"

    def test_child_has_its_own(self, postgresql, make, in_child):
        plug, key = make(), session_key()
        plug.dumps(key, None, b"record")

        def process_id(plug):
            with plug._engine().connect() as connection:
                return connection.scalar(sqlalchemy.text("SELECT pg_backend_pid()"))

        ours = process_id(plug)

        def use():
            assert plug.loads(key, None) == b"record"
            theirs = process_id(plug)
            plug.close()
            gc.collect()
            return theirs

        assert in_child(use) != ours
        assert process_id(plug) == ours, "the child closed the connection that it inherited"


class TestTheDirectWay:
    """To psycopg, past SQLAlchemy's Connection."""

    def process_ids(self, plug):
        """Return those of the two connections that are lent next."""
        asked = sqlalchemy.text("SELECT pg_backend_pid()")
        with plug._engine().connect() as one, plug._engine().connect() as other:
            return {one.scalar(asked), other.scalar(asked)}

    def way(self, plug):
        connection = plug._engine().raw_connection()
        try:
            return connection.dbapi_connection.direct
        finally:
            connection.close()

    def operations(self, plug):
        """Do each on a record; return how many there were."""
        key = session_key()
        plug.dumps(key, None, b"record")
        assert plug.loads(key, None) == b"record"
        assert plug.swap(key, None, b"record", b"other")
        plug.clear(key, None)
        assert plug.swap(key, None, None, b"third")
        return 5

    def test_is_taken(self, make, monkeypatch):
        plug = make()
        plug.loads(session_key(), None)
        connect = plug._engine().connect
        monkeypatch.setattr(plug._engine(), "connect", None)
        self.operations(plug)
        assert plug._engine().pool.checkedin() == 1
        monkeypatch.setattr(plug._engine(), "connect", connect)
        assert len(list(plug.scan())) == 1

    @pytest.mark.parametrize("event", ["before_cursor_execute", "checkin"])
    def test_is_not_taken_past_who_listens(self, make, event):
        plug, heard = make(), []
        plug.loads(session_key(), None)
        target = plug._engine().pool if event == "checkin" else plug._engine()
        sqlalchemy.event.listen(target, event, lambda *args: heard.append(args))
        assert self.operations(plug) == len(heard)

    def test_is_not_taken_past_who_listens_for_errors(self, postgresql, make):
        plug, heard = make(table="listened"), []
        plug.loads(session_key(), None)
        sqlalchemy.event.listen(plug._engine(), "handle_error", heard.append)
        postgresql.execute("DROP TABLE listened", "app")
        failure(plug)
        assert len(heard) == 1

    def test_is_not_taken_past_a_log(self, make, caplog):
        plug = make()
        plug.loads(session_key(), None)
        with caplog.at_level("INFO", "sqlalchemy.engine"):
            self.operations(plug)
        for word in ("SELECT", "INSERT", "UPDATE", "DELETE"):
            assert word in caplog.text

    @pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
    def test_interrupted_connections_are_not_used_again(self, make, error):
        plug = make()
        before = self.process_ids(plug)

        def interrupted(connection):
            raise error

        for _ in range(2):
            with pytest.raises(error):
                plug._engine().pool.do(interrupted)
        assert plug._engine().pool.checkedin() == 2
        after = self.process_ids(plug)
        assert len(before - after) == 1, "the last one in is the first one out"

    def test_refused_statements_leave_the_connection(self, postgresql, make):
        plug = make(table="dropped")
        plug.loads(session_key(), None)
        before = self.process_ids(plug)
        postgresql.execute("DROP TABLE dropped", "app")
        assert "does not exist" in failure(plug)
        assert self.process_ids(plug) == before

    @again_if_slow(2)
    def test_silence_on_one_connection_condemns_them_all(self, postgresql, make):
        # Else each would have its own timeout, after the server went away without a word.
        plug = make(timeout=0.5)
        wait_for(lambda: plug.loads(session_key(), None) is None, despite=plug.outages)
        before = self.process_ids(plug)
        postgresql.pause()
        try:
            assert "no answer within" in failure(plug)
        finally:
            postgresql.resume()
        wait_for(lambda: plug.loads(session_key(), None) is None, despite=plug.outages)
        assert before.isdisjoint(self.process_ids(plug))

    def test_errors_of_connecting_are_outages(self, tmp_path, postgresql):
        with PostgreSQL(tmp_path) as server, plugs(url=server.url) as make:
            idle, closed = make(), make()
            for plug in (idle, closed):
                plug.loads(session_key(), None)
            closed.close()
            server.stop()
            for plug in (idle, closed):
                assert plug._database._looked
                assert "see that the server runs" in failure(plug)

    def test_large_records_are_not_kept(self, make):
        plug, key, large = make(), session_key(), b"x" * 100_000
        plug.loads(key, None)
        self.operations(plug)
        assert len(self.way(plug)._cursors) == 5
        plug.dumps(key, None, large)
        assert plug.loads(key, None) == large
        assert plug.swap(key, None, large, b"small")
        assert not plug.swap(key, None, None, large)
        (kept,) = self.way(plug)._cursors
        assert kept is plug._statements.delete
        self.operations(plug)
        assert len(self.way(plug)._cursors) == 5

    def test_bytes_are_exact(self, make):
        plug, key = make(), session_key()
        plug.loads(key, None)
        for data in (b"", b"\0", bytes(range(256)) * 3, b"\\x00", b"%s%(key)s"):
            plug.dumps(key, None, data)
            found = plug.loads(key, None)
            assert found == data
            assert type(found) is bytes
            assert plug.swap(key, None, data, data + b"'")
            assert not plug.swap(key, None, data, b"")


class TestRemedies:
    def check(self, plug, *words, operation="loads", password="p@ss/w:rd %1"):
        message = failure(plug, operation, password)
        for word in words:
            assert word in message

    def test_wrong_password(self, postgresql, make):
        plug = make(url=postgresql.url_with(password="wr@ng"))
        self.check(plug, "check the user and the password", password="wr@ng")

    def test_wrong_user(self, postgresql, make):
        self.check(make(url=postgresql.url_with(user="other")), "check the user and the password")

    def test_wrong_port(self, postgresql, make):
        with other_server() as port:
            pass
        self.check(make(url=postgresql.url_with(port=port)), "check the host and the port")

    def test_wrong_host(self, postgresql, make):
        plug = make(url=postgresql.url_with(host="host.invalid"))
        self.check(plug, "check the host and the port")

    def test_server_of_another_kind(self, postgresql, make):
        with other_server() as port:
            plug = make(url=postgresql.url_with(port=port))
            self.check(plug, "a server of another kind answers there")

    def test_unknown_database(self, postgresql, make):
        self.check(make(url=postgresql.url_with(database="other")), "check the database")

    def test_missing_table(self, make):
        plug = make(create=False, table="missing")
        self.check(
            plug, "pluggable_session.sqlalchemy.create = true", "CREATE TABLE missing ( id VARCHAR"
        )
        make(table="missing").loads(session_key(), None)
        assert plug.loads(session_key(), None) is None

    def test_missing_schema(self, make):
        self.check(make(schema="nowhere"), "CREATE TABLE nowhere.sessions")

    def test_table_that_has_gone(self, postgresql, make):
        plug = make(table="gone")
        plug.dumps(session_key(), None, b"record")
        postgresql.execute("DROP TABLE gone", "app")
        self.check(plug, "does not exist")
        assert plug.loads(session_key(), None) is None

    def test_no_permission_to_create(self, postgresql, make, make_role):
        url = make_role()
        postgresql.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC, guest", "app")
        postgresql.execute("GRANT USAGE ON SCHEMA public TO guest", "app")
        self.check(make(url=url, table="refused"), "and CREATE, unless")

    def test_no_permission_to_write(self, postgresql, make, make_role):
        url = make_role()
        make(table="others").loads(session_key(), None)
        plug = make(url=url, table="others")
        self.check(plug, "let the user SELECT")
        postgresql.execute("GRANT SELECT ON others TO guest", "app")
        assert plug.loads(session_key(), None) is None
        self.check(plug, "let the user SELECT", operation="dumps")

    def test_read_only(self, postgresql, make, make_role):
        url = make_role()
        plug = make(url=url, table="read_only")
        plug.loads(session_key(), None)
        plug.close()
        postgresql.execute("ALTER ROLE guest SET default_transaction_read_only = on")
        assert plug.loads(session_key(), None) is None
        self.check(plug, "lead to the primary", operation="dumps")

    def test_too_many_connections(self, postgresql, make, make_role):
        url = make_role()
        postgresql.execute("ALTER ROLE guest CONNECTION LIMIT 0")
        self.check(make(url=url), "lower pluggable_session.sqlalchemy.pool_size")

    def test_not_let_in(self, postgresql, make, hba):
        hba("host all postgres 127.0.0.1/32 scram-sha-256\n")
        self.check(make(), "let this user and host in")

    def test_without_tls_where_it_is_required(self, postgresql, tls, make):
        url = postgresql.url_with(port=tls.port, query="?sslmode=disable")
        self.check(make(url=url), "if that wants TLS, append ?sslmode=require")

    def test_tls_where_there_is_none(self, postgresql, make):
        plug = make(url=postgresql.url_with(query="?sslmode=require"))
        self.check(plug, "the server speaks no TLS")

    def test_tls(self, tls, make, tmp_path):
        good = make(url=tls.url_with(query=f"?sslmode=verify-full&sslrootcert={tls.certificate}"))
        assert good.loads(session_key(), None) is None
        with good._engine().connect() as connection:
            asked = sqlalchemy.text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
            assert connection.scalar(asked) is True
        other, _ = certificate(tmp_path)
        bad = make(url=tls.url_with(query=f"?sslmode=verify-full&sslrootcert={other}"))
        self.check(bad, "check the certificate of the server")

    @pytest.fixture
    def hba(self, postgresql):
        def change(text):
            # A new session has what the server had read when it began.
            loaded = "SELECT pg_conf_load_time()"
            before = postgresql.execute(loaded)
            postgresql.allow(text)
            postgresql.execute("SELECT pg_reload_conf()")
            wait_for(lambda: postgresql.execute(loaded) != before)

        yield change
        change(postgresql.hba)


class TestTransactions:
    def test_of_the_application_are_not_joined(self, postgresql, make):
        engine = sqlalchemy.create_engine(
            postgresql.url.replace("postgresql", "postgresql+psycopg"), pool_size=2
        )
        plug, key = make(url=None, engine=lambda config: engine), session_key()
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text("CREATE TABLE undone (x integer)"))
            plug.dumps(key, None, b"record")
            connection.rollback()
        assert plug.loads(key, None) == b"record"
        assert not sqlalchemy.inspect(engine).has_table("undone")
        # The isolation level was the plug's only.
        with engine.connect() as connection:
            assert connection.get_isolation_level() == "READ COMMITTED"
        plug.close()
        assert engine.pool.checkedin() > 0, "the plug closed what is not its own"
        engine.dispose()

    def test_dropped_connection_of_the_application(self, postgresql, make, monkeypatch):
        monkeypatch.setattr(database, "_AT_ONCE", PATIENCE)
        engine = sqlalchemy.create_engine(
            postgresql.url.replace("postgresql", "postgresql+psycopg"), pool_size=1
        )
        plug, key = make(url=None, engine=engine), session_key()
        plug.dumps(key, None, b"record")
        TestConnections().terminate(postgresql)
        assert plug.loads(key, None) == b"record", "a reading is repeated"
        TestConnections().terminate(postgresql)
        message = failure(plug, "dumps")
        assert "terminating connection" in message or "closed" in message
        plug.clear(key, None)
        TestConnections().terminate(postgresql)
        plug.clear(key, None)
        assert plug.loads(key, None) is None
        engine.dispose()

    def test_errors_of_an_engine_of_the_application_show_no_data(self, postgresql, make):
        engine = sqlalchemy.create_engine(
            postgresql.url.replace("postgresql", "postgresql+psycopg"),
            poolclass=sqlalchemy.NullPool,
        )
        plug = make(url=None, engine=engine, create=False, table="nothing")
        key = session_key()
        with pytest.raises(plug.outages) as caught:
            plug.dumps(key, None, b"precious record")
        shown = str(caught.value) + repr(caught.value) + repr(vars(caught.value))
        assert "precious" not in shown
        assert key.session_id not in shown
        failure(plug, "dumps")


class TestTable:
    def test_processes_that_start_at_once(self, postgresql):
        for _ in range(3):
            with plugs(url=postgresql.url) as make:
                made, errors = [make() for _ in range(12)], []
                together = threading.Barrier(len(made))

                def use(plug, together=together, errors=errors):
                    with plug._engine().connect():
                        together.wait(30)
                    try:
                        plug.dumps(session_key(), None, b"record")
                    except Exception as error:
                        errors.append(error)

                threads = [threading.Thread(target=use, args=(plug,)) for plug in made]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join(30)
                assert errors == []
                assert len(list(made[0].scan())) == 12

    def test_in_a_schema(self, postgresql, make):
        postgresql.execute("CREATE SCHEMA IF NOT EXISTS web AUTHORIZATION app", "app")
        plug, key = make(schema="web"), session_key()
        plug.dumps(key, None, b"record")
        assert plug.loads(key, None) == b"record"
        rows = postgresql.execute(f"SELECT id FROM web.{plug._table.name}", "app")
        assert rows == [(key.session_id,)]

    def test_ddl_is_what_is_created(self, postgresql, make):
        plug, key = make(create=False, table="printed"), session_key()
        postgresql.execute(plug.ddl(), "app")
        postgresql.execute("GRANT ALL ON printed TO app", "app")
        plug.dumps(key, None, b"record")
        assert plug.loads(key, None) == b"record"
        asked = (
            "SELECT column_name, data_type, is_nullable FROM information_schema.columns"
            " WHERE table_name = '{}' ORDER BY 1"
        )
        made = make(table="made")
        made.loads(key, None)
        columns = postgresql.execute(asked.format("made"), "app")
        assert columns == postgresql.execute(asked.format("printed"), "app")
        assert columns == [
            ("data", "bytea", "NO"),
            ("expires", "double precision", "YES"),
            ("id", "character varying", "NO"),
        ]

    def test_indexes_are_used(self, postgresql, make):
        plug = make(table="indexed")
        plug.dumps(session_key(), None, b"record")
        rows = postgresql.execute(
            "SELECT indexdef FROM pg_indexes WHERE tablename = 'indexed'", "app"
        )
        assert any("(expires)" in row[0] for row in rows)
        assert any("(id)" in row[0] for row in rows)
        with plug._engine().connect() as connection:
            connection.exec_driver_sql("SET enable_seqscan = off")
            for statement, index in (
                ("select", "indexed_pkey"),
                ("replace", "indexed_pkey"),
                ("page", "indexed_pkey"),
                ("purge_unlocked", "indexed_expires"),
            ):
                compiled = getattr(plug._statements, statement).compile(dialect=connection.dialect)
                values = {"key": "k", "now": 1.0, "after": "", "record": b"", "expected": b""}
                values = {**compiled.params, **values, "until": None}
                values = {name: values[name] for name in compiled.params}
                plan = connection.exec_driver_sql(f"EXPLAIN {compiled}", values).scalars().all()
                assert index in "\n".join(plan), statement

    def test_purge_passes_over_what_is_locked(self, postgresql, make):
        plug, key = make(), session_key(-1)
        plug.dumps(key, None, b"expired")
        plug.dumps(session_key(-1), None, b"expired")
        with TestConnections().lock(postgresql, plug, key), within(PATIENCE / 2):
            assert plug.purge() == 1
        assert plug.purge() == 1

    def test_expiry_is_exact(self, make):
        plug = make()
        keys = [SessionKey(f"{n:064x}", time.time() + 60 + n / 3) for n in range(20)]
        for key in keys:
            plug.dumps(key, None, b"record")
        assert list(plug.scan()) == keys


class TestUrl:
    def test_through_the_loader(self, postgresql, make):
        key = session_key()
        make(table="loaded").dumps(key, None, b"record")
        spec = postgresql.url_with(query="?table=loaded&timeout=3&application_name=web")
        plug = load_plug(None, spec)
        try:
            assert plug.loads(key, None) == b"record"
            with plug._engine().connect() as connection:
                show = sqlalchemy.text("SHOW application_name")
                assert connection.scalar(show) == "web"
                assert connection.scalar(sqlalchemy.text("SHOW statement_timeout")) == "3s"
        finally:
            plug.close()

    def test_options_of_the_server_are_kept(self, postgresql, make):
        plug = make(url=postgresql.url_with(query="?options=-c%20work_mem%3D1MB"), timeout=4)
        plug.loads(session_key(), None)
        with plug._engine().connect() as connection:
            assert connection.scalar(sqlalchemy.text("SHOW work_mem")) == "1MB"
            assert connection.scalar(sqlalchemy.text("SHOW statement_timeout")) == "4s"

    def test_unknown_option(self, postgresql):
        with pytest.raises(ConfigurationError, match=r"Did you mean .*sslmode"):
            SqlalchemyPlug(url=postgresql.url_with(query="?sslmod=require"))
