"""A storage in a package of its own: installed, named in the settings, and used."""

import ast
import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "third_party_plug"
SECRET = "a secret for tests, of more than 32 bytes"

APPLICATION = """
import sys
from pyramid.config import Configurator
from pyramid.response import Response
from webtest import TestApp

def count(request):
    request.session["visits"] = request.session.get("visits", 0) + 1
    return Response(str(request.session["visits"]))

settings = dict(zip(sys.argv[1::2], sys.argv[2::2]))
with Configurator(settings=settings) as config:
    config.include("pyramid_pluggable_session")
    config.add_view(count)
    app = config.make_wsgi_app()
clients = [TestApp(app) for _ in range(3)]
print([int(client.get("/").text) for client in clients + clients[::-1]])
"""


@pytest.fixture(scope="session")
def installed(tmp_path_factory):
    """Return a directory in which the example is installed."""
    target = tmp_path_factory.mktemp("installed")
    # Nothing is fetched: what it needs is what the tests run with.
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*pip, "--no-build-isolation", "--target", target, EXAMPLE], check=True)
    return target


def run(installed, *arguments):
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=installed,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def visits(installed, **settings):
    settings = {"secret": SECRET, **settings}
    pairs = [(f"pluggable_session.{name}", value) for name, value in settings.items()]
    done = run(installed, "-c", APPLICATION, *(word for pair in pairs for word in pair))
    assert done.returncode == 0, done.stderr
    return ast.literal_eval(done.stdout)


def test_its_short_name(installed):
    assert visits(installed, plug="bounded") == [1, 1, 1, 2, 2, 2]


def test_its_option(installed):
    # Room for one: whoever comes next puts the one before out.
    assert visits(installed, plug="bounded", **{"bounded.size": "1"}) == [1, 1, 1, 2, 1, 1]


def test_a_member_of_a_chain(installed, tmp_path):
    plugs = f"bounded sqlite://{tmp_path}/sessions.db"
    assert visits(installed, plug="chain", **{"chain.plugs": plugs}) == [1, 1, 1, 2, 2, 2]


def test_a_mistake_in_its_options(installed):
    with pytest.raises(AssertionError, match=r"Did you mean pluggable_session\.bounded\.size\?"):
        visits(installed, plug="bounded", **{"bounded.sice": "1"})


def test_its_own_tests(installed):
    done = run(installed, "-m", "pytest", "-q", "-p", "no:cacheprovider", EXAMPLE / "tests")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\d\d passed", done.stdout), done.stdout


def test_it_is_short():
    (source,) = (EXAMPLE / "src").glob("*/__init__.py")
    text = source.read_text()
    (plug,) = (node for node in ast.parse(text).body if isinstance(node, ast.ClassDef))
    body = text.splitlines()[plug.body[0].end_lineno : plug.end_lineno]
    assert len([line for line in body if line.strip()]) < 15
