"""The Datastore emulator of Google's Cloud SDK, and a relay before it that can fail."""

from __future__ import annotations

import os
import shutil
import urllib.request
from pathlib import Path
from unittest import mock

from google.rpc.status_pb2 import Status

from proxies import HttpRelay, reply
from servers import Server

PROJECT = "test-project"

# Nothing of the machine's: no test may reach somebody's project, or search the network for one.
ENVIRONMENT = {
    "CLOUDSDK_CONFIG": os.devnull,
    "NO_GCE_CHECK": "true",
    "NO_PROXY": "127.0.0.1",
}
NOT_THERE = (
    "DATASTORE_EMULATOR_HOST",
    "DATASTORE_DATASET",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_CLOUD_PROJECT",
    "GCLOUD_PROJECT",
)


def clean_environment():
    """Return a context in which Google's libraries know nothing of this machine's user."""
    rest = {name: value for name, value in os.environ.items() if name not in NOT_THERE}
    return mock.patch.dict(os.environ, {**rest, **ENVIRONMENT}, clear=True)


def _program():
    gcloud = shutil.which("gcloud")
    roots = [Path("/usr/lib/google-cloud-sdk")]
    if gcloud is not None:
        roots.insert(0, Path(gcloud).resolve().parent.parent)
    for root in roots:
        jar = root / "platform" / "cloud-datastore-emulator" / "CloudDatastore.jar"
        if jar.exists():
            return jar
    return None


class DatastoreEmulator(Server):
    """One emulator, with what it stores in memory.

    In a ``with`` statement it also hides from Google's libraries what else this machine has.
    """

    @classmethod
    def absent(cls):
        if shutil.which("java") is None:
            return "java is not installed"
        if _program() is None:
            return "the Datastore emulator is not there: gcloud components install"
        return None

    def __init__(self, folder):
        super().__init__(folder)
        self.environment = clean_environment()

    def command(self):
        # What the SDK's script does, but as one process, which can be paused and killed.
        return [
            # Little memory, and a start that is not delayed by compiling what runs but seconds.
            *("java", "-Xmx384m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"),
            *("-cp", str(_program()), "com.google.cloud.datastore.emulator.CloudDatastore"),
            *("start", "--testing", "--firestore_in_datastore_mode"),
            *(f"--host={self.host}", f"--port={self.port}", self.folder),
        ]

    def check(self):
        with urllib.request.urlopen(f"http://{self.address}/", timeout=1) as response:
            assert response.read().strip() == b"Ok"

    @property
    def address(self):
        return f"{self.host}:{self.port}"

    @property
    def url(self):
        return f"datastore://{PROJECT}/?emulator_host={self.address}"

    def __enter__(self):
        self.environment.start()
        try:
            return self.start()
        except BaseException:
            self.environment.stop()
            raise

    def __exit__(self, *exception):
        self.stop()
        self.environment.stop()


class Relay(HttpRelay):
    """A relay whose operations are Datastore's methods.

    ``answers`` are pairs of a method and a function, which answers the first such request, once.
    """

    def operation_of(self, handler):
        return handler.path.rpartition(":")[2]

    def answer_to(self, operation):
        for each in self.answers:
            if each[0] == operation:
                self.answers.remove(each)
                return each[1]
        return None


def refuse(status, code=2, message="refused"):
    """Return an answer: an error as Datastore tells it."""
    body = Status(code=code, message=message).SerializeToString()
    return lambda handler: reply(handler, status, body)
