"""What every test may use."""

import contextlib
import importlib
import os
import shutil

import pytest
from hypothesis import HealthCheck, settings

from servers import Server
from storages import ON_DISK, ON_SERVERS

pytest_plugins = ["pytester"]

# How long an example takes says more about the machine than about the code.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("default")


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="do the long form of the experiments")
    parser.addoption("--table", help="a document to write the table of the experiments into")


@pytest.fixture(scope="session")
def missing():
    """Return a function that skips the test for a reason, such as a server that is not there.

    With REQUIRE_SERVERS=1 the test fails instead: then nothing may be left out.
    """

    def skip(reason):
        if os.environ.get("REQUIRE_SERVERS") == "1":
            pytest.fail(reason + ", and REQUIRE_SERVERS=1")
        pytest.skip(reason)

    return skip


@pytest.fixture(scope="session")
def require_program(missing):
    """Return a function from a program's name or path to its path; without it, see ``missing``."""

    def require(*names):
        for name in names:
            path = shutil.which(name)
            if path is not None:
                return path
        return missing(f"{' or '.join(names)} is not installed")

    return require


BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="module")
def chromium(require_program, missing):
    """Return a browser of playwright's."""
    program = require_program(*BROWSERS)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright is not installed")
    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=program, args=ARGUMENTS)
        with contextlib.closing(browser):
            yield browser


@pytest.fixture(scope="session")
def need(missing):
    """Return a function that skips the test if there is no server of a class; see ``missing``."""

    def need(server_class):
        if reason := server_class.absent():
            missing(reason)

    return need


@pytest.fixture(scope="session")
def running(tmp_path_factory, need):
    """Return a function from a kind of server to one that runs; without it, see ``missing``.

    They are started when they are first asked for, and shared by all tests.
    """
    servers = {}
    with contextlib.ExitStack() as stack:

        def run(kind):
            if kind not in servers:
                module, _, name = ON_SERVERS[kind].partition(":")
                server_class = getattr(importlib.import_module(module), name)
                need(server_class)
                folder = tmp_path_factory.mktemp(kind)
                servers[kind] = stack.enter_context(server_class(folder))
            server = servers[kind]
            if isinstance(server, Server) and server.process is None:
                server.start()  # a test has stopped it
            return server

        yield run


@pytest.fixture
def url_of(tmp_path, running):
    """Return a function from a storage's name to its URL: below this test's directory, or a server.

    See ``storages.py`` for the names.
    """

    def url_of(name):
        return ON_DISK[name].format(tmp_path) if name in ON_DISK else running(name).url

    return url_of
