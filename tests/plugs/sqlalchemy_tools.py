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


def certificate(folder):
    """Make a certificate for 127.0.0.1 and its key; return their paths."""
    import datetime
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_path, key_path = folder / "server.crt", folder / "server.key"
    certificate_path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    key_path.chmod(0o600)
    return str(certificate_path), str(key_path)
