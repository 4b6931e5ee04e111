"""What the documentation says of monitoring works as it says."""

import inspect
import json
import logging
import os
import pathlib
import re
import subprocess
import sys

import pytest
from pyramid.config import Configurator
from webtest import TestApp

from apps import SECRET, App
from pyramid_pluggable_session import limited_log, logs

TESTS = pathlib.Path(__file__).parent
DOCS = TESTS.parent / "docs"
TEXT = (DOCS / "monitoring.md").read_text()
PROMETHEUS, JSON = re.findall(r"(?ms)^```python\n(.*?)^```$", TEXT)
(ALERTS,) = re.findall(r"(?ms)^```yaml\n(.*?)^```$", TEXT)
(TOOLBAR,) = re.findall(r"(?ms)^```ini\n(.*?)^```$", TEXT)


def column(number, heading):
    """Return what is in a column of the table below a heading, between backquotes."""
    table = TEXT.partition(f"{heading}\n\n|")[2].partition("\n\n")[0]
    cells = [line.split("|")[number] for line in table.splitlines()[2:]]
    return [re.findall(r"`(.*?)`", cell) for cell in cells]


SHOP = """
from webtest import TestApp
from apps import SECRET
from pyramid_pluggable_session.interfaces import IPlugSession

def fail(*args):
    raise ConnectionError("down")

def visit(request):
    request.session["query"] = request.query_string
    if "meanwhile" in request.params:
        client.get("/visit")
    if "login" in request.params:
        request.session.regenerate_id()
    if "logout" in request.params:
        request.session.invalidate()
    if "outage" in request.params:
        request.registry.getUtility(IPlugSession).swap = fail
    return Response()

def includeme(config):
    config.add_route("visit", "/visit")
    config.add_view(visit, route_name="visit")

settings = {
    "pluggable_session.secret": SECRET,
    "pluggable_session.plug": "memory",
    "pluggable_session.on_outage": "anonymous",
    "pyramid.includes": "__main__",
}
client = TestApp(main({}, **settings))
for query in ("first=1", "meanwhile=1", "login=1", "logout=1", ""):
    client.get("/visit?" + query)
TestApp(client.app).get("/visit", headers={"Cookie": "session=" + "0" * 192})
client.get("/visit?outage=1")
response = client.get("/metrics")
assert response.content_type == "text/plain"
print(response.text)
"""


@pytest.fixture(scope="module")
def scraped(missing):
    """Return what Prometheus gets to read after some requests, of all sorts."""
    try:
        import opentelemetry.exporter.prometheus  # noqa: F401
    except ImportError:
        missing("opentelemetry-exporter-prometheus is not installed")
    path = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        # A provider is set for the whole process, once.
        [sys.executable, "-W", "ignore", "-c", PROMETHEUS + SHOP],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_table_names_every_metric(scraped):
    names = set(re.findall(r"(?m)^# TYPE (pyramid_session_\w+) ", scraped))
    assert {name for (name,) in column(2, "### What is measured")} == names


def test_the_alerts_ask_for_what_there_is(scraped):
    names = set(re.findall(r"\b(pyramid_session_\w+_(?:total|bucket|outages))\b", ALERTS))
    assert len(names) >= 5
    for name in names:
        assert re.search(rf"(?m)^{name}\b", scraped), name
    labels = set(re.findall(r"[({, ](pyramid_session_(?:plug|reason))\b", ALERTS))
    for label in labels:
        assert f'{label}="' in scraped


def test_the_table_names_every_line():
    source = inspect.getsource(logs) + inspect.getsource(limited_log)
    events = r'"(went_on|[a-z]+_(?:began|ended|failed|refused|left_out))"'
    assert {name for (name,) in column(1, "a formatter can write out:")} == set(
        re.findall(events, source)
    )


def test_lines_as_json(caplog):
    names = {}
    exec(JSON, names)
    caplog.set_level(logging.INFO)
    App().client(cookie="0" * 192).do(dict)
    (record,) = [each for each in caplog.records if hasattr(each, "session_event")]
    line = json.loads(names["JsonFormatter"]().format(record))
    assert line["session_event"] == "cookie_refused"
    assert line["message"] == "refused a cookie: not signed by us"
    try:
        raise ValueError("bad")
    except ValueError:
        record.exc_info = sys.exc_info()
    assert "ValueError: bad" in json.loads(names["JsonFormatter"]().format(record))["traceback"]


def test_the_toolbar_as_configured():
    settings = dict(re.findall(r"(?m)^(\S+) = (.*)$", TOOLBAR))
    settings["pluggable_session.secret"] = SECRET
    with Configurator(settings=settings) as config:
        config.include("pyramid_pluggable_session")
        config.set_session_plug("memory")
        config.add_route("index", "/")
        config.add_view(lambda request: request.response, route_name="index")
        client = TestApp(config.make_wsgi_app(), extra_environ={"REMOTE_ADDR": "127.0.0.1"})
    client.get("/")
    assert "Session Storage" in client.get("/_debug_toolbar/").text


def test_the_picture_is_there():
    (path,) = re.findall(r"!\[.*?\]\((.*?)\)", TEXT)
    assert 1000 < (DOCS / path).stat().st_size < 150_000
