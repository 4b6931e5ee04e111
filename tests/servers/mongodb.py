"""A server that speaks MongoDB's protocol.

It is no MongoDB but SecantusDB, a Python package that stands in for it: MongoDB itself comes only
from its maker. With the environment variable MONGODB_URI the tests use a real one, and a database
of their own in it.
"""

import os
import subprocess
import sys
from importlib.util import find_spec

from pymongo import MongoClient

from servers import Server


class Mongodb(Server):
    """A stand-in of MongoDB: a replica set of one member, unless it is ``standalone``."""

    @classmethod
    def absent(cls):
        if find_spec("secantus") is None:
            return "secantusdb, which stands in for MongoDB, is not installed"
        return None

    def __init__(self, folder, standalone=False):
        super().__init__(folder)
        self.standalone = standalone
        self.auth = False
        self.certificate = None

    def command(self):
        command = [sys.executable, "-m", "secantus", "--host", self.host, "--port", str(self.port)]
        command += ["--storage-path", os.path.join(self.folder, "data"), "--cache-size", "512M"]
        # It hangs when what it remembers of large writes outgrows its memory.
        command += ["--oplog-max-entries", "200"]
        command += ["--log-level", "WARNING", "--enable-test-commands"]
        command += ["--standalone"] * self.standalone + ["--auth"] * self.auth
        if self.certificate is not None:
            command += ["--tls-cert-file", self.certificate, "--tls-key-file", self.certificate]
        return command

    @property
    def url(self):
        return f"mongodb://{self.host}:{self.port}/sessions"

    def client(self, **options):
        """Return a client; close it."""
        return MongoClient(self.url, serverSelectionTimeoutMS=30_000, **options)

    def fail(self, code=None, times=1, **data):
        """Let the next ``times`` of the commands in ``failCommands`` fail."""
        if code is not None:
            data["errorCode"] = code
        with self.client() as client:
            client.admin.command(
                "configureFailPoint", "failCommand", mode={"times": times}, data=data
            )

    def use_tls(self):
        """Make a certificate that only itself vouches for, and return its path."""
        self.certificate = os.path.join(self.folder, "server.pem")
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
        command += [
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost,IP:127.0.0.1",
        ]
        command += ["-keyout", self.certificate, "-out", self.certificate + ".public"]
        subprocess.run(command, check=True, capture_output=True)
        with open(self.certificate + ".public") as public, open(self.certificate, "a") as both:
            both.write(public.read())
        return self.certificate + ".public"
