"""DynamoDB Local, Amazon's own server for tests, and a relay before it that can fail."""

from __future__ import annotations

import http.client
import os
import shutil
import ssl
from pathlib import Path
from unittest import mock
from urllib.parse import quote

from proxies import HttpRelay
from servers import Server

_PROGRAM = Path(__file__).parents[2] / ".servers" / "dynamodb-local"

REGION = "eu-central-1"

# What boto3 needs, and nothing else of the machine's: no test may reach an account of somebody's.
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
    "NO_PROXY": "127.0.0.1",
}


class DynamodbLocal(Server):
    """One server. In a ``with`` statement it also sets the environment that boto3 needs.

    What it stores ends with it, unless ``on_disk``.
    """

    @classmethod
    def absent(cls):
        if shutil.which("java") is None:
            return "java is not installed"
        if not (_PROGRAM / "DynamoDBLocal.jar").exists():
            return "DynamoDB Local is not there: run make programs"
        return None

    def __init__(self, folder, on_disk=False):
        super().__init__(folder)
        self.on_disk = on_disk
        self.environment = mock.patch.dict(os.environ, ENVIRONMENT)

    def command(self):
        return [
            # Little memory, and a start that is not delayed by compiling what runs but seconds.
            *("java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"),
            *(f"-Djava.library.path={_PROGRAM}/DynamoDBLocal_lib", "-jar"),
            *(f"{_PROGRAM}/DynamoDBLocal.jar", "-disableTelemetry", "-sharedDb"),
            *(("-dbPath", self.folder) if self.on_disk else ("-inMemory",)),
            *("-port", str(self.port)),
        ]

    def check(self):
        connection = http.client.HTTPConnection(self.host, self.port, timeout=5)
        try:
            connection.request("GET", "/")
            connection.getresponse().read()
        finally:
            connection.close()

    @property
    def endpoint_url(self):
        return f"http://{self.host}:{self.port}"

    @property
    def url(self):
        return url(self.endpoint_url)

    def __enter__(self):
        self.environment.start()
        try:
            return super().__enter__()
        except BaseException:
            self.environment.stop()
            raise

    def __exit__(self, *exception):
        super().__exit__(*exception)
        self.environment.stop()


def url(endpoint_url, table="sessions"):
    """Return a plug's URL for a server; the table is made."""
    where = quote(endpoint_url, safe="")
    return f"dynamodb://{table}?region={REGION}&endpoint_url={where}&create_table=true"


class Relay(HttpRelay):
    """A relay for DynamoDB. The next requests are answered by ``answers``, one each."""

    def __init__(self, server=None, certificate=None):
        super().__init__(server)
        self.scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.listener.socket = context.wrap_socket(
                self.listener.socket, server_side=True, do_handshake_on_connect=False
            )
            self.scheme = "https"
            self.listener.handle_error = lambda *arguments: None  # a client that hangs up

    @property
    def endpoint_url(self):
        return f"{self.scheme}://{self.address}"

    def operation_of(self, handler):
        return handler.headers["X-Amz-Target"].partition(".")[2]

    def answer_to(self, operation):
        return self.answers.pop(0) if self.answers else None
