"""MariaDB, with the user ``app`` and its database ``app``."""

import os
import pwd
import shutil
import subprocess
from urllib.parse import quote

import pymysql

from servers import Server

PASSWORD = "p@ss/w:rd %1"
ROOT_PASSWORD = "super"
TABLES = "/usr/share/mysql"


def find_program():
    """Return the path of the server, or None. Where it is, an ordinary user's PATH may not go."""
    return shutil.which("mariadbd", path=os.environ["PATH"] + ":/usr/sbin:/usr/local/sbin")


class MariaDB(Server):
    """A MariaDB server."""

    @classmethod
    def absent(cls):
        return None if find_program() else "MariaDB is not installed"

    def __init__(self, folder, *options):
        super().__init__(folder)
        self.program = find_program()
        if self.program is None:
            raise RuntimeError("MariaDB is not installed")
        self.options_given = options
        self.data = os.path.join(self.folder, "data")
        self.socket = os.path.join(self.folder, "socket")
        # A server that starts deletes the temporary tables of others, where they share a directory.
        self.temporary = os.path.join(self.folder, "temporary")
        self.user = pwd.getpwuid(os.geteuid()).pw_name

    def command(self):
        return [
            self.program,
            "--no-defaults",
            f"--user={self.user}",
            f"--datadir={self.data}",
            f"--socket={self.socket}",
            f"--tmpdir={self.temporary}",
            f"--port={self.port}",
            f"--bind-address={self.host}",
            "--innodb-flush-log-at-trx-commit=0",
            "--innodb-buffer-pool-size=16M",
            "--innodb-log-file-size=8M",
            "--skip-name-resolve",
            "--table-open-cache=200",
            "--max-allowed-packet=4M",
            *self.options_given,
        ]

    def check(self):
        with pymysql.connect(
            host=self.host, port=self.port, user="root", password=ROOT_PASSWORD, connect_timeout=5
        ):
            pass

    def start(self):
        os.makedirs(self.temporary, exist_ok=True)
        if not os.path.exists(self.data):
            self._install()
        return super().start()

    def _install(self):
        # What mariadb-install-db does. It wants programs of the client's package as well.
        os.mkdir(self.data)
        script = [
            "CREATE DATABASE mysql;",
            "USE mysql;",
            "SET @auth_root_socket = NULL, @skip_auth_anonymous = 1;",
        ]
        for name in ("mysql_system_tables.sql", "mysql_system_tables_data.sql"):
            with open(os.path.join(TABLES, name)) as file:
                script.append(file.read())
        script += [
            "FLUSH PRIVILEGES;",
            f"CREATE OR REPLACE USER 'root'@'127.0.0.1' IDENTIFIED BY '{ROOT_PASSWORD}';",
            "GRANT ALL ON *.* TO 'root'@'127.0.0.1' WITH GRANT OPTION;",
            "CREATE DATABASE app;",
            f"CREATE USER 'app'@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';",
            "GRANT ALL ON app.* TO 'app'@'127.0.0.1';",
        ]
        done = subprocess.run(
            [*self.command(), "--bootstrap"],
            cwd=self.folder,
            input="\n".join(script),
            check=False,
            capture_output=True,
            text=True,
            timeout=self.patience,
        )
        if done.returncode:
            raise RuntimeError(f"MariaDB made no database: {done.stderr[-2000:]}")

    def execute(self, statement):
        """Execute a statement as root; return its rows."""
        with (
            pymysql.connect(
                host=self.host,
                port=self.port,
                user="root",
                password=ROOT_PASSWORD,
                autocommit=True,
                connect_timeout=30,
            ) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(statement)
            return cursor.fetchall()

    def url_with(self, **parts):
        """Return the URL with some parts changed: user, password, host, port, database, query."""
        part = {
            "user": "app",
            "password": PASSWORD,
            "host": self.host,
            "port": self.port,
            "database": "app",
            "query": "",
            **parts,
        }
        return (
            f"mysql://{part['user']}:{quote(part['password'], safe='')}@{part['host']}:"
            f"{part['port']}/{part['database']}{part['query']}"
        )

    @property
    def url(self):
        return self.url_with()
