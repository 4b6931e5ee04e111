"""What the README and the examples say works as they say."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import time
import types
import urllib.error
import urllib.request

import plaster
import pytest
from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError
from pyramid.interfaces import ISessionFactory
from webtest import TestApp

from pyramid_pluggable_session.loader import known_plugs
from servers import free_port

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
EXAMPLES = ROOT / "examples"
SECRET = "a secret for tests, of more than 32 bytes"
MY_SECRET = re.compile(r"(?m)^(pluggable_session\.secret = )replace-me.*$")


def blocks(language):
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```$", README)


def settings_of(path):
    """Return the settings of an ini file as pserve reads them."""
    return plaster.get_settings(str(path), "app:main")


@pytest.fixture(scope="module")
def readme():
    """Return a module of the README's Python, run from top to bottom."""
    module = sys.modules["readme"] = types.ModuleType("readme")
    for block in blocks("python"):
        # Below as many empty lines as are above it, so that a traceback names the right one.
        above = README[: README.index(block)].count("\n")
        exec(compile("\n" * above + block, ROOT / "README.md", "exec"), vars(module))
    yield module
    del sys.modules["readme"]


@pytest.fixture
def copy(tmp_path):
    """Return a function that puts an ini file with a secret of one's own in a directory."""

    def write(text):
        text, replaced = MY_SECRET.subn(rf"\g<1>{SECRET}", text)
        assert replaced == 1
        path = tmp_path / "development.ini"
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize("number", range(len(blocks("ini"))))
def test_the_ini(number, readme, copy):
    settings = settings_of(copy(blocks("ini")[number]))
    app = readme.main({}, **settings)
    https = {"wsgi.url_scheme": "https", "HTTP_HOST": "localhost:443"}
    client, other = TestApp(app, extra_environ=https), TestApp(app, extra_environ=https)
    counts = [each.get("/").json["visits"] for each in (client, client, other, client)]
    assert counts == [1, 2, 1, 3]


def test_the_placeholder_is_refused(readme, tmp_path):
    path = tmp_path / "development.ini"
    path.write_text(blocks("ini")[0])
    with pytest.raises(ConfigurationError) as caught:
        readme.main({}, **settings_of(path))
    command = re.search(r'-c "(.*)"', str(caught.value))[1]
    made = subprocess.run(
        [sys.executable, "-c", command], capture_output=True, text=True, check=True
    )
    readme.main({}, **{**settings_of(path), "pluggable_session.secret": made.stdout})


@pytest.mark.parametrize("stay", [False, True])
def test_the_login(readme, stay):
    with Configurator(settings={"pluggable_session.secret": SECRET}) as config:
        config.include("pyramid_pluggable_session")
        config.set_session_plug(readme.BoundedPlug)
        config.set_security_policy(readme.SecurityPolicy())
        for name in ("visits", "login", "logout", "secret"):
            config.add_route(name, f"/{name}")
        config.add_view(readme.visits, route_name="visits", renderer="json")
        config.add_view(readme.login, route_name="login")
        config.add_view(readme.logout, route_name="logout")
        config.add_view(
            lambda request: {"user": request.authenticated_userid},
            route_name="secret",
            permission="view",
            renderer="json",
        )
    client = TestApp(config.make_wsgi_app())
    client.get("/secret", status=403)
    client.get("/visits")
    before = client.cookies["session"]
    response = client.get("/login", {"stay": "1"} if stay else {}, status=303)
    assert client.cookies["session"] != before
    if stay:
        assert "Max-Age=2592000" in response.headers["Set-Cookie"]
    assert client.get("/secret").json == {"user": "ada"}
    assert client.get("/visits").json == {"visits": 2}
    client.get("/logout", status=303)
    client.get("/secret", status=403)


def test_the_plug_is_the_example():
    plug, tests = blocks("python")[-2:]
    example = EXAMPLES / "third_party_plug"
    assert (example / "src/bounded_session_plug/__init__.py").read_text().endswith("\n\n" + plug)
    assert tests.split("\n\n\n", 1)[1] in (example / "tests/test_bounded.py").read_text()


def test_the_plug_by_its_dotted_name(readme):
    settings = {"pluggable_session.secret": SECRET, "pluggable_session.plug": "readme.BoundedPlug"}
    client = TestApp(readme.main({}, **settings))
    assert [client.get("/").json["visits"] for _ in range(2)] == [1, 2]


def test_the_table_names_every_storage():
    rows = re.findall(r"(?m)^\| `(\w+)", README)
    entries = {
        name: entry
        for name, entry in known_plugs().items()
        if entry.value.startswith("pyramid_pluggable_session.")
    }
    assert set(rows[1:]) <= set(entries), "a row for a storage that is none"
    modules = {entries[name].module for name in rows[1:]}
    assert modules == {entry.module for entry in entries.values()}, "a row for each storage"


def test_the_links_lead_somewhere():
    for document in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")):
        for link in re.findall(r"\]\(([^):#]+)[#)]", document.read_text()):
            assert (document.parent / link).exists(), f"{document.name}: {link}"


def test_the_commands_exist():
    makefile = (ROOT / "Makefile").read_text()
    text = README + (ROOT / "CONTRIBUTING.md").read_text()
    for target in re.findall(r"(?m)(?:^|`)make (\w+)", text):
        assert re.search(rf"(?m)^{target}:", makefile), target


def test_minimal_is_served(copy, tmp_path):
    minimal = EXAMPLES / "minimal"
    port = free_port()
    text = (minimal / "development.ini").read_text()
    path = copy(text.replace("localhost:6543", f"127.0.0.1:{port}"))
    shutil.copy(minimal / "app.py", tmp_path)
    pserve = pathlib.Path(sys.executable).with_name("pserve")
    server = subprocess.Popen([pserve, path], env={**os.environ, "PYTHONPATH": str(tmp_path)})
    try:
        first, headers = get(port)
        second, _ = get(port, {"Cookie": headers["Set-Cookie"].partition(";")[0]})
    finally:
        server.terminate()
        server.wait(60)
    assert (first, second) == (b"Visit number 1\n", b"Visit number 2\n")


def get(port, headers=None):
    """Return the answer of a server that may still be starting."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/", headers=headers or {})
    until = time.monotonic() + 180
    while True:
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.read(), answer.headers
        except urllib.error.URLError:
            if time.monotonic() > until:
                raise
        time.sleep(0.1)


def test_minimal_refuses_its_placeholder():
    settings = settings_of(EXAMPLES / "minimal" / "development.ini")
    with Configurator(settings=settings) as config, pytest.raises(ConfigurationError):
        config.include("pyramid_pluggable_session")
    assert config.registry.queryUtility(ISessionFactory) is None
