"""PostgreSQL, with the user ``app`` and its database ``app``."""

import contextlib
import glob
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from urllib.parse import quote

import psycopg

from servers import Server

PASSWORD = "p@ss/w:rd %1"
SUPERUSER_PASSWORD = "super"
FOLDERS = ("/usr/lib/postgresql/*/bin", "/usr/local/pgsql/bin")


def find_programs():
    """Return the directory with PostgreSQL's programs, or None. Debian keeps them off the PATH."""
    found = shutil.which("initdb")
    if found:
        return os.path.dirname(os.path.realpath(found))
    folders = [folder for pattern in FOLDERS for folder in sorted(glob.glob(pattern))]
    return next((each for each in reversed(folders) if os.path.exists(each + "/initdb")), None)


def _is_running(process_id):
    try:
        with open(f"/proc/{process_id}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


class PostgreSQL(Server):
    """A PostgreSQL server. It keeps its data in a folder of its own, as it refuses to be root."""

    @classmethod
    def absent(cls):
        return None if find_programs() else "PostgreSQL is not installed"

    def __init__(self, folder, **parameters):
        super().__init__(folder)
        self.parameters = {
            "listen_addresses": self.host,
            "unix_socket_directories": "",
            "fsync": "off",
            "shared_buffers": "16MB",
            **parameters,
        }
        self.programs = find_programs()
        if self.programs is None:
            raise RuntimeError("PostgreSQL is not installed")
        self.base = self.data = None
        self.hba = "host all all 127.0.0.1/32 scram-sha-256\n"

    def options(self):
        return {"user": pwd.getpwnam("nobody").pw_uid} if os.geteuid() == 0 else {}

    def command(self):
        arguments = [f"--{name}={value}" for name, value in self.parameters.items()]
        return [f"{self.programs}/postgres", "-D", self.data, "-p", str(self.port), *arguments]

    def check(self):
        self.execute("SELECT 1")

    def start(self):
        if self.data is not None:
            return super().start()
        self.data = os.path.join(self.make_folder(), "data")
        secret = os.path.join(self.base, "secret")
        with open(secret, "w") as file:
            file.write(SUPERUSER_PASSWORD)
        self.give(secret)
        arguments = ["--username=postgres", f"--pwfile={secret}", "--no-sync", "--locale=C"]
        arguments += ["--encoding=UTF8", "--auth=scram-sha-256"]
        program = f"{self.programs}/initdb"
        done = subprocess.run(
            [program, "-D", self.data, *arguments],
            cwd=self.base,
            check=False,
            capture_output=True,
            text=True,
            timeout=self.patience,
            **self.options(),
        )
        if done.returncode:
            raise RuntimeError(f"initdb failed: {done.stderr[-2000:]}")
        self.allow(self.hba)
        super().start()
        self.execute(f"CREATE ROLE app LOGIN PASSWORD '{PASSWORD}'")
        self.execute("CREATE DATABASE app OWNER app")
        return self

    def make_folder(self):
        """Return a folder of the server's own, made when it is first asked for."""
        if self.base is None:
            self.base = tempfile.mkdtemp()
            self.give(self.base)
        return self.base

    def give(self, path):
        """Let the server's user own a file or a folder."""
        if os.geteuid() == 0:
            os.chown(path, pwd.getpwnam("nobody").pw_uid, -1)

    def allow(self, hba):
        """Set who may connect, and how."""
        with open(os.path.join(self.data, "pg_hba.conf"), "w") as file:
            file.write(hba)

    def execute(self, statement, database="postgres"):
        """Execute a statement as the superuser; return its rows."""
        with psycopg.connect(
            host=self.host,
            port=self.port,
            user="postgres",
            password=SUPERUSER_PASSWORD,
            dbname=database,
            autocommit=True,
            connect_timeout=30,
        ) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

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
            f"postgresql://{part['user']}:{quote(part['password'], safe='')}@{part['host']}:"
            f"{part['port']}/{part['database']}{part['query']}"
        )

    @property
    def url(self):
        return self.url_with()

    def pause(self):
        """Let the server and its children, one for each connection, do nothing."""
        self._signal(signal.SIGSTOP)
        os.waitpid(self.process.pid, os.WUNTRACED)

    def resume(self):
        self._signal(signal.SIGCONT)

    def _signal(self, number):
        self.process.send_signal(number)
        for child in self._children():
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.kill(child, number)

    def _children(self):
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as file:
            return [int(each) for each in file.read().split()]

    def stop(self):
        if self.process is not None:
            self.resume()
            # Fast shutdown: SIGTERM would wait for the clients to leave.
            self.process.send_signal(signal.SIGINT)
            self.process.wait(60)
            self.process = None

    def kill(self):
        """End the server and its children at once."""
        if self.process is not None:
            children = self._children() if self.process.poll() is None else []
            super().kill()
            for child in children:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            # A new server does not start while one of them has the old one's shared memory.
            until = time.monotonic() + 20
            while any(map(_is_running, children)) and time.monotonic() < until:
                time.sleep(0.02)

    def __exit__(self, *exception):
        super().__exit__(*exception)
        shutil.rmtree(self.base, ignore_errors=True)
