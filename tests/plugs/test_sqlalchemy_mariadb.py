import gc

import pytest
import sqlalchemy
from pyramid.exceptions import ConfigurationError
from sqlalchemy_tools import failure, other_server, plugs, swap_that_is_cut_off

from certificates import certificate
from proxies import Proxy
from pyramid_pluggable_session.errors import SessionTooLarge
from pyramid_pluggable_session.loader import make_plug as load_plug
from pyramid_pluggable_session.plugs.sqlalchemy import SqlalchemyPlug
from pyramid_pluggable_session.testing import PlugContract, session_key
from servers.mariadb import ROOT_PASSWORD, MariaDB
from timing import again_if_slow, wait_for, within


@pytest.fixture(scope="session")
def mariadb(running):
    return running("mariadb")


@pytest.fixture(scope="module")
def tls(mariadb, tmp_path_factory):
    """A server that wants TLS."""
    folder = tmp_path_factory.mktemp("tls")
    path, key = certificate(folder)
    server = MariaDB(folder, f"--ssl-cert={path}", f"--ssl-key={key}")
    server.certificate = path
    with server:
        server.execute("SET GLOBAL require_secure_transport = ON")
        yield server


@pytest.fixture
def make(mariadb):
    with plugs(url=mariadb.url) as make:
        yield make


@pytest.fixture
def guest(mariadb):
    """The URL of a user without rights in the database."""
    mariadb.execute("CREATE USER 'guest'@'127.0.0.1' IDENTIFIED BY 'guest'")
    mariadb.execute("GRANT USAGE ON app.* TO 'guest'@'127.0.0.1'")
    yield mariadb.url_with(user="guest", password="guest")
    mariadb.execute("DROP USER 'guest'@'127.0.0.1'")


class TestMariadb(PlugContract):
    @pytest.fixture
    def make_plug(self, make):
        return make


class TestMariadbByItsOwnScheme(PlugContract):
    many = 50

    @pytest.fixture
    def make_plug(self, mariadb):
        with plugs(url=mariadb.url.replace("mysql:", "mariadb:")) as make:
            yield make


class TestRoundTrips:
    def test_few(self, mariadb, make):
        # One to see whether the connection is still good, and one for the statement.
        with Proxy(mariadb) as proxy:
            plug, key = make(url=mariadb.url_with(port=proxy.port)), session_key()
            plug.loads(key, None)
            with proxy.expect(2):
                plug.dumps(key, None, b"record")
            with proxy.expect(2):
                assert plug.loads(key, None) == b"record"
            with proxy.expect(2):
                assert plug.swap(key, None, b"record", b"other")
            with proxy.expect(2):
                plug.clear(key, None)
            with proxy.expect(2):
                assert plug.swap(key, None, None, b"new")
            assert proxy.connections == 1


class TestConnections:
    def terminate(self, mariadb):
        listing = "SELECT id FROM information_schema.processlist WHERE user = 'app'"
        there = set(mariadb.execute(listing))
        mariadb.execute("KILL USER 'app'@'127.0.0.1'")
        wait_for(lambda: there.isdisjoint(mariadb.execute(listing)))

    def test_dropped_while_idle(self, mariadb, make):
        plug, key = make(), session_key()
        for operation in (
            lambda: plug.dumps(key, None, b"record"),
            lambda: plug.loads(key, None) == b"record",
            lambda: plug.swap(key, None, b"record", b"record"),
            lambda: plug.clear(key, None),
        ):
            plug.loads(key, None)
            self.terminate(mariadb)
            assert operation() in (None, True)

    def test_restart(self, tmp_path, mariadb):
        with MariaDB(tmp_path) as server, plugs(url=server.url) as make:
            plug, key = make(), session_key()
            plug.dumps(key, None, b"record")
            server.stop()
            assert "see that the server runs" in failure(plug)
            assert "see that the server runs" in failure(plug, "dumps")
            server.start()
            plug.dumps(key, None, b"other")
            server.kill()
            server.start()
            assert plug.swap(key, None, plug.loads(key, None), b"third")

    def lock(self, mariadb, plug, key):
        # As another user: were this connection ended with the plug's, and first, the row would
        # be free before the plug's own statement is.
        url = mariadb.url_with(user="root", password=ROOT_PASSWORD)
        engine = sqlalchemy.create_engine(
            url.replace("mysql:", "mysql+pymysql:"), poolclass=sqlalchemy.NullPool
        )
        connection = engine.connect()
        table = plug._table.name
        connection.exec_driver_sql(
            f"SELECT * FROM {table} WHERE id = %s FOR UPDATE", (key.session_id,)
        )
        return connection

    def wait_for_update(self, mariadb):
        updating = (
            "SELECT 1 FROM information_schema.processlist WHERE user = 'app' AND info LIKE 'UPD%'"
        )
        wait_for(lambda: mariadb.execute(updating))

    def test_dropped_in_the_middle(self, mariadb, make):
        plug = make()
        swap_that_is_cut_off(
            plug,
            lambda key: self.lock(mariadb, plug, key),
            lambda: self.wait_for_update(mariadb),
            lambda: self.terminate(mariadb),
        )

    @pytest.mark.parametrize("operation", ["loads", "dumps"])
    @again_if_slow(3)
    def test_server_that_hangs(self, mariadb, make, operation):
        plug, key = make(timeout=0.5, connect_timeout=0.5), session_key()
        wait_for(lambda: plug.loads(key, None) is None, despite=plug.outages)
        mariadb.pause()
        try:
            # The connection is tried first, and then a new one.
            with within(3, at_least=0.4):
                failure(plug, operation)
        finally:
            mariadb.resume()
        wait_for(lambda: plug.loads(key, None) is None, despite=plug.outages)

    @again_if_slow(2)
    def test_server_that_is_slow(self, mariadb, make):
        plug, key = make(timeout=0.5), session_key()
        make().dumps(key, None, b"record")
        wait_for(lambda: plug.loads(key, None) == b"record", despite=plug.outages)
        with self.lock(mariadb, plug, key), within(2, at_least=0.4):
            message = failure_of(plug, lambda: plug.dumps(key, None, b"other"))
        assert "raise pluggable_session.sqlalchemy.timeout" in message

    @again_if_slow(2)
    def test_server_that_hangs_before_the_connection(self, mariadb, make):
        plug = make(timeout=0.5, connect_timeout=0.5)
        mariadb.pause()
        try:
            with within(2):
                failure(plug)
        finally:
            mariadb.resume()
        wait_for(lambda: plug.loads(session_key(), None) is None, despite=plug.outages)

    def test_nothing_is_left_open(self, mariadb):
        plug = SqlalchemyPlug(url=mariadb.url, table="left_open", purge_interval=0)
        plug.loads(session_key(), None)
        pool = plug._engine().pool
        assert pool.checkedin() == 1
        del plug
        gc.collect()
        assert pool.checkedin() == 0


def failure_of(plug, operation):
    with pytest.raises(plug.outages) as caught:
        operation()
    return plug.remedy(caught.value)


class TestRecords:
    def test_too_large(self, mariadb, make):
        plug, key = make(), session_key()
        plug.dumps(key, None, b"record")
        limit = 4 * 1024 * 1024  # as the server was started
        for size in (limit // 2 + 1, limit + 1):
            for operation in (
                lambda size=size: plug.dumps(key, None, bytes(size)),
                lambda size=size: plug.swap(key, None, b"record", bytes(size)),
                lambda size=size: plug.swap(session_key(), None, None, bytes(size)),
            ):
                with pytest.raises(SessionTooLarge, match="max_allowed_packet") as caught:
                    operation()
                assert (caught.value.size, caught.value.limit) == (size, limit)
            assert plug.loads(key, None) == b"record"
        half = b"x" * (limit // 4)
        assert plug.swap(key, None, b"record", half)
        with pytest.raises(SessionTooLarge):
            plug.swap(key, None, half, half)
        assert plug.loads(key, None) == half

    def test_large_but_not_the_reason(self, mariadb, make):
        plug, key = make(create=False, table="nothing_there"), session_key()
        with pytest.raises(plug.outages, match="doesn't exist"):
            plug.dumps(key, None, b"x" * 2_000_000)

    def test_large_and_no_server(self, tmp_path, mariadb):
        with MariaDB(tmp_path) as server, plugs(url=server.url) as make:
            plug, key = make(), session_key()
            plug.loads(key, None)
            server.stop()
            with pytest.raises(plug.outages):
                plug.dumps(key, None, b"x" * 2_000_000)

    def test_table(self, mariadb, make):
        make(table="columns").loads(session_key(), None)
        (row,) = mariadb.execute("SHOW CREATE TABLE app.columns")
        assert "`data` longblob NOT NULL" in row[1]
        assert "`id` char(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL" in row[1]
        assert "`expires` double" in row[1]
        assert "KEY `columns_expires` (`expires`)" in row[1]

    def test_ddl_is_what_is_created(self, mariadb, make):
        plug, key = make(create=False, table="printed"), session_key()
        for statement in plug.ddl().split("\n\n"):
            mariadb.execute(statement.replace("printed ", "app.printed ", 1))
        plug.dumps(key, None, b"record")
        assert plug.loads(key, None) == b"record"


class TestRemedies:
    def check(self, plug, *words, operation="loads", password="p@ss/w:rd %1"):
        message = failure(plug, operation, password)
        for word in words:
            assert word in message

    def test_wrong_password(self, mariadb, make):
        plug = make(url=mariadb.url_with(password="wr@ng"))
        self.check(plug, "check the user and the password", password="wr@ng")

    def test_wrong_port(self, mariadb, make):
        with other_server() as port:
            pass
        self.check(make(url=mariadb.url_with(port=port)), "check the host and the port")

    def test_wrong_host(self, mariadb, make):
        plug = make(url=mariadb.url_with(host="host.invalid"))
        self.check(plug, "check the host and the port")

    def test_server_of_another_kind(self, mariadb, make):
        with other_server() as port:
            plug = make(url=mariadb.url_with(port=port))
            self.check(plug, "a server of another kind answers there")

    def test_unknown_database(self, mariadb, make):
        self.check(make(url=mariadb.url_with(database="other")), "check the database")
        plug = make(url=mariadb.url_with(user="root", password="super", database="other"))
        self.check(plug, "check the database")

    def test_missing_table(self, make):
        plug = make(create=False, table="missing")
        self.check(
            plug, "pluggable_session.sqlalchemy.create = true", "CREATE TABLE missing ( id CHAR(64)"
        )

    def test_permissions(self, mariadb, make, guest):
        self.check(make(url=guest, table="refused"), "check the database")
        mariadb.execute("GRANT SELECT ON app.* TO 'guest'@'127.0.0.1'")
        plug = make(url=guest, table="refused")
        self.check(plug, "and CREATE, unless")
        make(table="refused").loads(session_key(), None)
        assert plug.loads(session_key(), None) is None
        self.check(plug, "let the user SELECT", operation="dumps")

    def test_read_only(self, mariadb, make):
        plug = make()
        plug.loads(session_key(), None)
        mariadb.execute("SET GLOBAL read_only = ON")
        try:
            assert plug.loads(session_key(), None) is None
            self.check(plug, "lead to the primary", operation="dumps")
        finally:
            mariadb.execute("SET GLOBAL read_only = OFF")

    def test_too_many_connections(self, mariadb, make, guest):
        mariadb.execute("ALTER USER 'guest'@'127.0.0.1' WITH MAX_USER_CONNECTIONS 1")
        mariadb.execute("GRANT ALL ON app.* TO 'guest'@'127.0.0.1'")
        plug, other = make(url=guest), make(url=guest)
        plug.loads(session_key(), None)
        self.check(other, "lower pluggable_session.sqlalchemy.pool_size")

    def test_tls(self, tls, make, tmp_path):
        good = make(url=tls.url_with(query=f"?ssl_ca={tls.certificate}"))
        assert good.loads(session_key(), None) is None
        with good._engine().connect() as connection:
            row = connection.exec_driver_sql("SHOW STATUS LIKE 'Ssl_cipher'").one()
            assert row[1]
        other, _ = certificate(tmp_path)
        bad = make(url=tls.url_with(query=f"?ssl_ca={other}"))
        self.check(bad, "check the certificate of the server")

    def test_without_tls_where_it_is_required(self, tls, make):
        self.check(
            make(url=tls.url_with(query="?ssl_disabled=true")),
            "if the server wants TLS, append ?ssl_ca=",
        )

    def test_tls_where_there_is_none(self, mariadb, make, tmp_path):
        path, _ = certificate(tmp_path)
        plug = make(url=mariadb.url_with(query=f"?ssl_ca={path}"))
        self.check(plug, "the server speaks no TLS")


class TestUrl:
    def test_through_the_loader(self, mariadb, make):
        key = session_key()
        make(table="loaded").dumps(key, None, b"record")
        plug = load_plug(None, mariadb.url_with(query="?table=loaded&charset=utf8mb4"))
        try:
            assert plug.loads(key, None) == b"record"
        finally:
            plug.close()

    def test_unknown_option(self, mariadb):
        with pytest.raises(ConfigurationError, match=r"Did you mean .*ssl_ca"):
            SqlalchemyPlug(url=mariadb.url_with(query="?ssl_caa=x"))
