"""memcached."""

from __future__ import annotations

import os
import shutil
import socket

from servers import Server


class Memcached(Server):
    """A memcached server. ``options`` go to its command line."""

    program = "/usr/bin/memcached"

    @classmethod
    def absent(cls):
        found = shutil.which("memcached") or os.path.exists(cls.program)
        return None if found else "memcached is not installed"

    def __init__(self, folder, *options, unix=False):
        super().__init__(folder)
        self.arguments = options
        self.unix = os.path.join(self.folder, "socket") if unix else None

    def command(self):
        program = shutil.which("memcached") or self.program
        where = ["-s", self.unix] if self.unix else ["-l", self.host, "-p", str(self.port)]
        user = ["-u", "root"] if os.geteuid() == 0 else []
        return [program, "-U", "0", "-m", "64", "-t", "2", *where, *user, *self.arguments]

    def check(self):
        if "-Z" in self.arguments:
            super().check()
            return
        assert self.ask(b"version").startswith((b"VERSION", b"CLIENT_ERROR"))

    def stop(self):
        # To end in order takes it a second, and it has nothing to save.
        self.kill()

    def ask(self, *lines, end=b"\r\n"):
        """Send the lines and return the answer up to ``end``."""
        with self.connect() as connection:
            connection.sendall(b"".join(line + b"\r\n" for line in lines))
            answer = b""
            while not answer.endswith(end):
                more = connection.recv(65536)
                assert more, "the server closed the connection"
                answer += more
        return answer

    def connect(self):
        if self.unix:
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(self.unix)
            except OSError:
                connection.close()
                raise
            return connection
        return socket.create_connection((self.host, self.port), 30)

    def flush(self):
        """Forget all records."""
        assert self.ask(b"flush_all") == b"OK\r\n"

    def stat(self, name):
        """Return one of the server's statistics as a number."""
        for line in self.ask(b"stats", end=b"END\r\n").splitlines():
            if line.startswith(b"STAT %s " % name.encode()):
                return int(line.split()[2])
        raise LookupError(name)

    @property
    def address(self):
        return self.unix or f"{self.host}:{self.port}"

    @property
    def url(self):
        return f"memcached://{self.address}"
