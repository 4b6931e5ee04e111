"""What the tests of the sqlalchemy plug share."""

import contextlib
import itertools
import socket
import threading
import traceback

import pytest

from pyramid_pluggable_session.errors import PlugUnavailable
from pyramid_pluggable_session.plugs.sqlalchemy import SqlalchemyPlug
from pyramid_pluggable_session.storage import Storage
from pyramid_pluggable_session.testing import session_key
from timing import PATIENT

_numbers = itertools.count()


@contextlib.contextmanager
def plugs(**defaults):
    """Give a function that makes plugs on one table of their own, and close them at the end."""
    made = []
    defaults = {
        "table": f"sessions{next(_numbers)}",
        "purge_interval": 0,
        **PATIENT,
        **defaults,
    }

    def make(**options):
        made.append(SqlalchemyPlug(None, **{**defaults, **options}))
        return made[-1]

    yield make
    for plug in made:
        plug.close()


SECRET_RECORD = b"precious record"


def failure(plug, operation="loads", password="p@ss/w:rd %1"):
    """Return the message of a failing operation, once sure that it and its traceback keep quiet."""
    key, storage = session_key(), Storage(plug, None)
    operations = {
        "loads": lambda: storage.loads(key),
        "dumps": lambda: storage.dumps(key, SECRET_RECORD),
    }
    with pytest.raises(PlugUnavailable) as caught:
        operations[operation]()
    printed = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    for secret in (key.session_id, SECRET_RECORD.decode(), password):
        assert secret not in printed
    return str(caught.value)


@contextlib.contextmanager
def other_server():
    """Give the port of a server that speaks something else."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    with client:
                        client.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def swap_that_is_cut_off(plug, lock, reached, cut):
    """Let a swap wait for the lock on its row, and cut it off: it must not be tried again.

    ``lock(key)`` is a context in which the row is locked, ``reached()`` waits until the statement
    does, and ``cut()`` ends its connection.
    """
    key = session_key()
    plug.dumps(key, None, b"record")
    errors = []

    def swap():
        try:
            plug.swap(key, None, b"record", b"other")
        except plug.outages as error:
            errors.append(error)

    with lock(key):
        thread = threading.Thread(target=swap)
        thread.start()
        reached()
        cut()
        thread.join(30)
    assert len(errors) == 1, "a swap is not repeated"
    assert plug.loads(key, None) == b"record"
    assert plug.swap(key, None, b"record", b"other")
