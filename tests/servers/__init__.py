"""Real servers for the tests: each private, on the loopback interface, and stopped by its own id.

A module for each kind of server has a class that starts one, and the fixtures are in
``tests/conftest.py``.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import time

_GIVEN: set[int] = set()
"""Ports that were given to servers of this process, some of which may be down for a moment."""


def free_port():
    """Return a port of the loopback interface that nobody listens on, and no other server has."""
    # Below those that systems give to clients: such a port may be gone before it is used, or while
    # a server is down. Processes that run tests beside each other have ranges of their own. Not
    # from ``random``, which runs of the tests beside this one may seed alike.
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 6
    while True:
        port = 20_000 + 2_000 * worker + secrets.randbelow(2_000)
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.bind(("127.0.0.1", port))
            if port not in _GIVEN:
                _GIVEN.add(port)
                return port


class Server:
    """A server process. Subclasses say how it is started and when it is ready."""

    patience = 180.0  # seconds for it to become ready

    def __init__(self, folder):
        self.folder = str(folder)
        self.host = "127.0.0.1"
        self.port = free_port()
        self.process = None

    @classmethod
    def absent(cls):
        """Return why there is no such server here, or None if there is."""
        raise NotImplementedError

    def command(self):
        """Return the program and its arguments."""
        raise NotImplementedError

    def check(self):
        """Raise an exception until the server answers."""
        socket.create_connection((self.host, self.port), 1).close()

    def options(self):
        """Return further arguments for ``subprocess.Popen``."""
        return {}

    @property
    def log(self):
        return os.path.join(self.folder, "log")

    def start(self):
        """Start the server and return when it is ready."""
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **self.options(),
            )
        until = time.monotonic() + self.patience
        while True:
            try:
                self.check()
                return self
            except Exception as error:
                if self.process.poll() is not None or time.monotonic() > until:
                    self.kill()
                    with open(self.log, errors="replace") as log:
                        tail = log.read()[-2000:]
                    raise RuntimeError(f"{type(self).__name__} did not start: {tail}") from error
                time.sleep(0.05)

    def stop(self):
        """Let the server end in order."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()
            self.process = None

    def kill(self):
        """End the server at once."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def pause(self):
        """Let the server do nothing, as one that hangs."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitpid(self.process.pid, os.WUNTRACED)  # until all its threads have stopped

    def resume(self):
        """Let the server go on."""
        self.process.send_signal(signal.SIGCONT)

    def __enter__(self):
        return self.start()

    def __exit__(self, *exception):
        self.stop()
