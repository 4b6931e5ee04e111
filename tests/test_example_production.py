"""The example of a production set-up, with all of its files, does what its README says."""

from __future__ import annotations

import http.client
import itertools
import os
import pathlib
import re
import signal
import ssl
import subprocess
import sys
from contextlib import ExitStack
from urllib.parse import urlencode

import pytest
import redis
from redis.exceptions import RedisError

from certificates import certificate
from servers import Server, free_port
from servers.nginx import Nginx
from servers.redis import Valkey
from timing import wait_for

pytestmark = pytest.mark.slow

EXAMPLE = pathlib.Path(__file__).parents[1] / "examples" / "production"
SECRET = "a secret of 32 bytes and some more"
PASSWORD = "correct horse"


def file_of(name, **replacements):
    """Return the text of a file of the example, with something else in place of what is there."""
    text = (EXAMPLE / name).read_text()
    for old, new in replacements.items():
        assert old in text, f"{name} has no {old}"
        text = text.replace(old, str(new))
    return text


class Configured(Server):
    """A server that gets a configuration from the example."""

    def __init__(self, folder, *command, port=None, **options):
        super().__init__(folder)
        self.port = port or self.port
        self.arguments, self.given = command, options

    def command(self):
        return list(self.arguments)

    def options(self):
        return self.given


class SetUp:
    """Everything: two servers for the data and three Sentinels, two for the application, nginx."""

    def __init__(self, folder, nginx, stack):
        self.folder, self.stack = folder, stack
        self.data = self.start_data()
        self.start_sentinels()
        self.secrets = self.write_secrets()
        self.apps = [self.start_application(number) for number in (1, 2)]
        self.start_nginx(nginx)

    def start(self, server):
        return self.stack.enter_context(server)

    def write(self, name, text, folder="."):
        path = self.folder / folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    def start_data(self):
        self.ports = [free_port() for _ in range(2)]
        servers = []
        for number, port in enumerate(self.ports):
            folder = f"data{number}"
            acl = self.write("users.acl", file_of("users.acl"), folder)
            conf = {
                "port 6379": f"port {port}",
                "bind 10.0.0.21 127.0.0.1": "bind 127.0.0.1",
                "/etc/redis/users.acl": acl,
            }
            if number == 1:
                conf["# replicaof 10.0.0.21 6379"] = f"replicaof 127.0.0.1 {self.ports[0]}"
            path = self.write("redis.conf", file_of("redis.conf", **conf), folder)
            server = Configured(path.parent, Valkey.program(), str(path), port=port)
            servers.append(self.start(server))
        return servers

    def start_sentinels(self):
        self.sentinels = []
        for number in range(3):
            port = free_port()
            conf = {
                "port 26379": f"port {port}",
                "bind 10.0.0.21 127.0.0.1": "bind 127.0.0.1",
                "10.0.0.21 6379": f"127.0.0.1 {self.ports[0]}",
                # So that the test does not take long.
                "sessions 5000": "sessions 1000",
                "sessions 60000": "sessions 3000",
            }
            path = self.write("s.conf", file_of("sentinel.conf", **conf), f"sentinel{number}")
            command = Valkey.program(), str(path), "--sentinel"
            self.sentinels.append(self.start(Configured(path.parent, *command, port=port)))
        for sentinel in self.sentinels:
            with redis.Redis(port=sentinel.port, protocol=2) as client:
                wait_for(lambda client=client: knows_all(client), despite=(RedisError,))

    def write_secrets(self):
        sys.path.insert(0, str(EXAMPLE))
        try:
            from shop.accounts import make_line
        finally:
            sys.path.remove(str(EXAMPLE))
        for name, text in {
            "pluggable_session.secret": SECRET + "\n",
            "pluggable_session.redis.password": "replace-me-shop\n",
            "shop.accounts": make_line("ada", PASSWORD) + "\n" + make_line("bob", "other") + "\n",
        }.items():
            self.write(name, text, "secrets")
        return self.folder / "secrets"

    def start_application(self, number):
        port = free_port()
        ini = {
            f"10.0.0.{21 + i}:26379": f"127.0.0.1:{s.port}" for i, s in enumerate(self.sentinels)
        }
        ini["/etc/shop/secrets"] = self.secrets
        folder = self.folder / f"app{number}"
        self.ini = self.write("production.ini", file_of("production.ini", **ini), folder)
        conf = {
            "10.0.0.11:8000": f"127.0.0.1:{port}",
            "10.0.0.2": "127.0.0.1",
            # So that they start in less time.
            "workers = 4": "workers = 2",
        }
        config = self.write("gunicorn.conf.py", file_of("gunicorn.conf.py", **conf), folder)
        command = (
            sys.executable,
            "-m",
            "gunicorn",
            "--config",
            str(config),
            "--paste",
            str(self.ini),
        )
        path = os.pathsep.join([str(EXAMPLE), *filter(None, sys.path)])
        env = {**os.environ, "PYTHONPATH": path, "PYTHONWARNINGS": "ignore"}
        return self.start(
            Configured(folder, *command, "--paste", str(self.ini), port=port, env=env)
        )

    def start_nginx(self, nginx):
        self.certificate, key = certificate(self.folder)
        self.port, self.plain_port = free_port(), free_port()
        site = file_of(
            "nginx.conf",
            **{
                "10.0.0.11:8000": f"127.0.0.1:{self.apps[0].port}",
                "10.0.0.12:8000": f"127.0.0.1:{self.apps[1].port}",
                "listen 80": f"listen 127.0.0.1:{self.plain_port}",
                "listen 443": f"listen 127.0.0.1:{self.port}",
                "/etc/nginx/shop.crt": self.certificate,
                "/etc/nginx/shop.key": key,
            },
        )
        self.start(Nginx(self.folder / "nginx", nginx, site, self.port))


def knows_all(sentinel):
    """Tell whether a Sentinel knows the replica and the other Sentinels."""
    state = sentinel.sentinel_master("sessions")
    return (state["num-slaves"], state["num-other-sentinels"]) == (1, 2)


@pytest.fixture(scope="module")
def setup(tmp_path_factory, require_program, missing):
    if Valkey.absent():
        missing(Valkey.absent())
    nginx = require_program("nginx", "/usr/sbin/nginx")
    require_program("gunicorn", os.path.join(os.path.dirname(sys.executable), "gunicorn"))
    with ExitStack() as stack:
        yield SetUp(tmp_path_factory.mktemp("production"), nginx, stack)


class Browser:
    """A client that speaks TLS and keeps its cookie."""

    def __init__(self, setup, agent="Firefox"):
        self.setup, self.cookie, self.agent = setup, None, agent
        self.tls = ssl.create_default_context(cafile=setup.certificate)

    def ask(self, method, path, form=None, **headers):
        """Return the answer, with its text, and the header that sets the cookie if there is one."""
        headers = {"Host": f"127.0.0.1:{self.setup.port}", "User-Agent": self.agent, **headers}
        if self.cookie:
            headers["Cookie"] = f"__Host-session={self.cookie}"
        if form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            headers["Origin"] = f"https://127.0.0.1:{self.setup.port}"
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self.setup.port, context=self.tls, timeout=60
        )
        try:
            connection.request(method, path, urlencode(form or {}), headers)
            answer = connection.getresponse()
            answer.text = answer.read().decode()
        finally:
            connection.close()
        answer.set_cookie = answer.headers["Set-Cookie"]
        if answer.set_cookie:
            self.cookie = re.match("__Host-session=(.*?);", answer.set_cookie)[1]
        return answer

    def get(self, path, **headers):
        return self.ask("GET", path, **headers)

    def post(self, path, **form):
        """Send the form of a page; that of the page itself, or else of the first one."""
        page = self.get("/" if path == "/logout" else path).text
        form["csrf_token"] = re.search("name=csrf_token value=([0-9a-f]+)", page)[1]
        return self.ask("POST", path, form)

    def log_in(self, name="ada", password=PASSWORD):
        return self.post("/login", name=name, password=password)


def test_login_and_logout(setup):
    ada = Browser(setup)
    assert "Name or password is wrong" in ada.log_in(password="guessed").text
    assert "Name or password is wrong" in ada.log_in(name="nobody").text
    before = ada.cookie
    answer = ada.log_in()
    assert (answer.status, ada.cookie != before) == (303, True)
    value, *attributes = answer.set_cookie.split("; ")
    assert re.fullmatch("__Host-session=[0-9a-f]{128}", value)
    assert attributes == ["Path=/", "Secure", "HttpOnly", "SameSite=Lax"]
    assert answer.headers["Cache-Control"] == "private"
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
    # Whichever of the two servers it goes to.
    assert all("Hello, ada" in ada.get("/").text for _ in range(4))
    stolen = ada.cookie
    assert ada.post("/logout").status == 303
    ada.cookie = stolen
    assert "Log in" in ada.get("/").text


def test_who_is_not_logged_in_sees_no_devices(setup):
    answer = Browser(setup).get("/devices")
    assert (answer.status, answer.headers["Location"].endswith("/login")) == (302, True)


def test_a_forged_form_is_refused(setup):
    ada = Browser(setup)
    ada.log_in()
    assert ada.ask("POST", "/logout", {"csrf_token": "0" * 64}).status == 400
    assert "Hello, ada" in ada.get("/").text


def test_devices(setup):
    phone, desktop = Browser(setup, "Phone"), Browser(setup, "Desktop")
    for each in (phone, desktop):
        # What a client says of its address is not believed.
        form = {"name": "bob", "password": "other"}
        page = each.get("/login").text
        form["csrf_token"] = re.search("name=csrf_token value=([0-9a-f]+)", page)[1]
        each.ask("POST", "/login", form, **{"X-Forwarded-For": "6.6.6.6"})
    shown = desktop.get("/devices").text
    assert re.findall("<li>(.*?) at (.*?)(?: |<)", shown) == [
        ("Desktop", "127.0.0.1"),
        ("Phone", "127.0.0.1"),
    ]
    (handle,) = re.findall("name=device value=(.*?)>", shown)
    assert desktop.post("/devices", device=handle).status == 303
    assert "Log in" in phone.get("/").text
    assert "Hello, bob" in desktop.get("/").text


def test_plain_http_leads_to_https(setup):
    connection = http.client.HTTPConnection("127.0.0.1", setup.plain_port, timeout=60)
    connection.request("GET", "/login?a=b", headers={"Host": "shop.example.org"})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    location = answer.headers["Location"]
    assert (answer.status, location) == (301, "https://shop.example.org/login?a=b")


def test_the_configuration_is_checked(setup):
    psessions = "from pyramid_pluggable_session.scripts.psessions import main as m; exit(m())"
    path = os.pathsep.join([str(EXAMPLE), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", psessions, str(setup.ini), "check", "--strict"],
        env={**os.environ, "PYTHONPATH": path, "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\nOK: 0 failed, 0 to look at" in done.stdout
    # The rights of the user are enough for it to tell these.
    assert re.search("OK +versions +Valkey [0-9]", done.stdout)
    assert re.search("OK +clock +within 2 s of the storage's", done.stdout)
    assert SECRET not in done.stdout
    assert "replace-me" not in done.stdout


def workers(*apps):
    """Return the ids of the processes that gunicorn has started."""
    masters = [app.process.pid for app in apps]
    paths = [pathlib.Path(f"/proc/{master}/task/{master}/children") for master in masters]
    return {pid for path in paths for pid in path.read_text().split()}


def test_a_reload_takes_the_secret_in_and_refuses_nobody(setup):
    ada = Browser(setup)
    ada.log_in()
    secret = setup.secrets / "pluggable_session.secret"

    def get():
        answer = ada.get("/")
        assert answer.status == 200
        return answer.text

    def reload(text, shown):
        secret.write_text(text)
        before = workers(*setup.apps)
        for app in setup.apps:
            app.process.send_signal(signal.SIGHUP)
        # Until all of them are others, somebody asks all the time.
        wait_for(lambda: get() and not before & workers(*setup.apps), 90)
        assert all(shown in get() for _ in range(4))

    reload("another secret, which is long enough", "Log in")
    reload(SECRET, "Hello, ada")


def test_nothing_in_the_ini_file_is_secret():
    names = re.findall(r"(?m)^([\w.]+) *=", (EXAMPLE / "production.ini").read_text())
    assert "shop.secrets" in names
    assert not [name for name in names if name.endswith((".secret", "password", ".accounts"))]


def test_the_primary_is_killed(setup):
    """The last one: what is killed stays so."""
    ada = Browser(setup)
    ada.log_in()
    with redis.Redis(port=setup.ports[1], password="replace-me-admin", protocol=2) as replica:
        key = f"session:{ada.cookie[:64]}"
        wait_for(lambda: replica.exists(key), despite=(RedisError,))
    setup.data[0].kill()
    answers = [ada.get("/health")]
    # It does not look at the session, and nobody shall take the application for dead.
    assert (answers[0].status, answers[0].text) == (200, "ok\n")
    assert answers[0].set_cookie is None
    assert answers[0].headers["Vary"] is None

    def again():
        answers.append(ada.get("/"))
        return answers[-1].status == 200

    wait_for(again, 90)
    assert {answer.status for answer in answers[1:-1]} <= {503}
    assert all(answer.set_cookie is None for answer in answers[:-1])
    for _ in range(4):
        wait_for(again)
        assert "Hello, ada" in answers[-1].text
    wait_for(lambda: ada.post("/logout").status == 303)
    assert "Log in" in ada.get("/").text


def test_the_unit(tmp_path, require_program):
    program = require_program("systemd-analyze")
    text = file_of(
        "shop.service",
        **{
            "/srv/shop/venv/bin/gunicorn": sys.executable,
            "WorkingDirectory=/srv/shop": f"WorkingDirectory={tmp_path}",
            "User=shop": "User=root",
            "Group=shop": "Group=root",
        },
    )
    (tmp_path / "shop.service").write_text(text)
    done = subprocess.run(
        [program, "verify", "--man=no", str(tmp_path / "shop.service")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    about_it = [line for line in done.stderr.splitlines() if "shop.service" in line]
    assert (done.returncode, about_it) == (0, [])


def test_the_readme_names_the_files():
    text = (EXAMPLE / "README.md").read_text()
    files = {p.name for p in EXAMPLE.iterdir() if p.is_file()} - {"README.md"}
    missing = [name for name in itertools.chain(files, ["shop/"]) if f"`{name}`" not in text]
    assert missing == []
