"""The debug toolbar's panel in a real browser.

Screenshots are written to the directory that DEMO_SCREENSHOTS names.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from pyramid.response import Response

from pyramid_pluggable_session.interfaces import IPlugSession
from test_toolbar import Toolbar

pytestmark = pytest.mark.browser

PATIENCE = 30_000  # milliseconds


@pytest.fixture
def shop(tmp_path):
    """A shop; the address of its page, which changes the session."""

    def index(request):
        session = request.session
        if "cart" not in session:
            session["user"], session["cart"] = "ada", {"sencha": 1}
            session["recently viewed"] = ["assam", "ceylon", "darjeeling"]
            session.flash("Welcome!")
        else:
            session["cart"]["assam"] = session["cart"].get("assam", 0) + 1
            session.pop_flash()
        return Response("<!doctype html><title>Shop</title><body><h1>Tea</h1></body>")

    toolbar = Toolbar(plug=f"sqlite://{tmp_path}/sessions.db")
    toolbar.app.views["shop"] = index

    class Quiet(WSGIRequestHandler):
        def log_message(self, *args):
            pass

    server = make_server("127.0.0.1", 0, toolbar.app.wsgi, handler_class=Quiet)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/do/shop"
    server.shutdown()
    thread.join()
    server.server_close()
    toolbar.app.registry.getUtility(IPlugSession).close()


@pytest.mark.parametrize("width", [1200, 400])
def test_the_panel(chromium, shop, width):
    with chromium.new_context(viewport={"width": width, "height": 800}) as context:
        context.set_default_timeout(PATIENCE)
        complaints = []
        context.on("weberror", lambda error: complaints.append(str(error.error)))
        tab = context.new_page()
        tab.goto(shop)
        tab.goto(shop)
        with context.expect_page() as opened:
            tab.locator("#pShowToolBarButton").click()
        page = opened.value
        # Its tabs work once its scripts have run: a click before that is lost.
        page.wait_for_load_state("load")
        page.locator("#pDebugPanel-session_storage a").click()
        panel = page.locator("#pDebugPanel-session_storage-content")
        panel.wait_for(state="visible")
        text = panel.inner_text()
        for shown in ("loaded", "swap", "recently viewed", "list of 3", "sessions.db"):
            assert shown in text
        for value in ("ada", "sencha", "assam"):
            assert value not in text
        # Wide tables scroll by themselves: the page does not grow beyond the window for them.
        assert panel.evaluate("each => each.scrollWidth <= each.clientWidth")
        changed = panel.locator("#session-storage-keys .label").all_inner_texts()
        assert changed == ["changed", "removed"]
        directory = os.environ.get("DEMO_SCREENSHOTS")
        if directory:
            Path(directory).mkdir(parents=True, exist_ok=True)
            page.screenshot(path=Path(directory) / f"toolbar-{width}.png", full_page=True)
        assert complaints == []
