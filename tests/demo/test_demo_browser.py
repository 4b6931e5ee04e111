"""The demo in a real browser, as somebody would use it who has just started it.

Screenshots are written to the directory that DEMO_SCREENSHOTS names.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from timing import again_if_slow

pytestmark = pytest.mark.browser

SLOW_SECONDS = 1.5
MILLISECONDS = 1000
PATIENCE = 30 * MILLISECONDS


class Demo:
    """The demo, started as ``make demo`` starts it."""

    def __init__(self, project, data, plug):
        self.command = [
            *(sys.executable, "-m", "examples.demo", "--port", "0", "--data", str(data)),
            *("--plug", plug, "--set", f"demo.slow_seconds={SLOW_SECONDS}"),
        ]
        self.project = project
        self.start()

    def start(self):
        # A file, as nobody reads a pipe while the tests run.
        with tempfile.TemporaryFile("w+") as errors:
            self.process = subprocess.Popen(
                self.command, cwd=self.project, stdout=subprocess.PIPE, stderr=errors, text=True
            )
            for line in self.process.stdout:
                found = re.search(r"http://127\.0\.0\.1:\d+/", line)
                if found:
                    self.url = found[0]
                    return
            self.stop()
            errors.seek(0)
            raise RuntimeError(f"the demo did not start:\n{errors.read()}")

    def stop(self):
        self.process.terminate()
        self.process.wait(60)
        self.process.stdout.close()


@pytest.fixture(scope="module")
def demo(project, tmp_path_factory):
    running = Demo(project, tmp_path_factory.mktemp("demo"), "sqlite")
    yield running
    running.stop()


@pytest.fixture
def context(chromium):
    # A context is a browser of its own, with no cookies.
    with chromium.new_context(viewport={"width": 1400, "height": 1000}) as context:
        context.set_default_timeout(PATIENCE)
        complaints = []
        context.on("weberror", lambda error: complaints.append(str(error.error)))
        yield context
        assert complaints == []


@pytest.fixture
def tab(context, demo):
    return open_tab(context, demo)


def on_a_slow_request(test):
    """Let a test be done again that may have come too late for the slow request."""
    return again_if_slow(SLOW_SECONDS)(test)


def new_session(context, demo):
    """Return a tab of a browser that has no session yet."""
    context.clear_cookies()
    return open_tab(context, demo)


@pytest.fixture
def screenshot():
    def take(tab, name):
        directory = os.environ.get("DEMO_SCREENSHOTS")
        if directory:
            Path(directory).mkdir(parents=True, exist_ok=True)
            tab.screenshot(path=Path(directory) / f"{name}.png", full_page=True)

    return take


def open_tab(context, demo):
    tab = context.new_page()
    tab.goto(demo.url)
    wait_for_panels(tab)
    return tab


def press(tab, name):
    with tab.expect_navigation():
        tab.get_by_role("button", name=name).click()
    if tab.locator("#log").count():
        wait_for_panels(tab)


def wait_for_panels(tab):
    """Wait until the page's script has brought the panels up to date for the first time."""
    tab.wait_for_function("document.getElementById('log').made")


def handle(tab):
    return tab.inner_text("#handle")


def cart(tab):
    return {
        line.get_attribute("data-tea"): int(line.get_attribute("data-count"))
        for line in tab.query_selector_all("#cart [data-tea]")
    }


def expect_report(tab, text):
    tab.wait_for_function(
        "text => document.getElementById('report').textContent.includes(text)", arg=text
    )


def cookies(context):
    return {cookie["name"]: cookie for cookie in context.cookies()}


def start_slow(tab):
    tab.get_by_role("button", name="Start the slow request").click()
    expect_report(tab, "The slow request is under way.")
    # The report comes before the request has been sent.
    time.sleep(SLOW_SECONDS / 5)


def test_page_shows(tab, screenshot):
    assert tab.title().startswith("Tea for one session")
    assert tab.inner_text("#storage") == "sqlite"
    assert tab.inner_text("#user") == "Nobody"
    # The request that made the page is in the log: its panels came after it was finished.
    row = tab.locator("#log tbody tr").first
    assert row.get_attribute("data-outcome") == "stored"
    assert "swap" in row.inner_text()
    assert re.fullmatch(r"(20:00|19:[0-5]\d)", tab.inner_text("#countdown"))
    before = tab.inner_text("#countdown")
    tab.wait_for_function(
        "before => document.getElementById('countdown').textContent !== before", arg=before
    )
    screenshot(tab, "first")


def test_nothing_is_loaded_from_elsewhere(context, demo):
    tab = context.new_page()
    urls = []
    tab.on("request", lambda request: urls.append(request.url))
    tab.goto(demo.url)
    tab.wait_for_load_state("networkidle")
    assert len(urls) >= 4
    assert all(url.startswith(demo.url) for url in urls)


def test_cart(tab):
    press(tab, "Add Sencha")
    press(tab, "Add Sencha")
    press(tab, "Add Assam")
    assert cart(tab) == {"sencha": 2, "assam": 1}
    assert "dict of 2" in tab.inner_text("#contents")
    press(tab, "Empty the cart")
    assert cart(tab) == {}


def test_flash(tab):
    tab.get_by_label("Shown once, then gone").fill("Mind the <kettle>")
    press(tab, "Flash")
    assert tab.inner_text(".flash").strip() == "Mind the <kettle>"
    tab.reload()
    assert tab.locator(".flash").count() == 0


def test_login_and_logout(tab, context, screenshot):
    press(tab, "Add Rooibos")
    before, cookie = handle(tab), cookies(context)["session"]["value"]
    tab.get_by_label("Tomas").check()
    press(tab, "Log in")
    after = handle(tab)
    assert before != after
    assert cookies(context)["session"]["value"] != cookie
    assert f"{before} → {after}" in tab.inner_text(".flash").replace("\n", " ")
    assert tab.inner_text("#user") == "Tomas"
    assert cart(tab) == {"rooibos": 1}
    screenshot(tab, "logged-in")
    press(tab, "Log out")
    assert handle(tab) not in (before, after)
    assert tab.inner_text("#user") == "Nobody"
    assert cart(tab) == {}


def test_one_browser_ends_the_session_of_another(chromium, tab, demo, screenshot):
    press(tab, "Log in")
    with chromium.new_context(viewport={"width": 400, "height": 800}) as other_context:
        other = open_tab(other_context, demo)
        press(other, "Log in")
        there = handle(other)
        tab.get_by_role("link", name="Your devices").click()
        tab.wait_for_load_state()
        assert tab.locator("[data-device]").count() >= 2
        screenshot(tab, "devices")
        other.goto(f"{demo.url}devices")
        assert other.evaluate("document.documentElement.scrollWidth") <= 400
        assert other.evaluate(TOO_FAINT) == []
        screenshot(other, "devices-400")
        press(tab, f"Log out {there}")
        assert "That device is logged out." in tab.inner_text(".flash")
        assert tab.locator(f"[data-device='{there}']").count() == 0
        other.goto(demo.url)
        assert other.inner_text("#user") == "Nobody"


def test_cookie_as_the_browser_sees_it(tab, context, demo):
    cookie = cookies(context)["session"]
    assert cookie["httpOnly"] is True
    assert cookie["sameSite"] == "Lax"
    assert cookie["path"] == "/"
    assert cookie["secure"] is False
    assert cookie["expires"] == -1
    assert "session" not in tab.evaluate("document.cookie")
    press(tab, "Add Assam")
    name = handle(tab)
    again = open_tab(context, demo)
    assert handle(again) == name
    assert cookies(context)["session"]["value"] == cookie["value"]
    assert cookie["value"][:64] not in again.content()


def test_remembered_cookie_outlives_the_browser(tab, context):
    tab.get_by_label("Remember me for 30 days").check()
    press(tab, "Log in")
    days = (cookies(context)["session"]["expires"] - time.time()) / 86400
    assert 29.9 < days < 30.1
    assert "remembered" in tab.inner_text("#facts")
    assert tab.inner_text("#countdown") == "29 d 23 h"


@on_a_slow_request
def test_slow_request_and_a_second_tab(context, demo, screenshot):
    tab = new_session(context, demo)
    press(tab, "Add Sencha")
    second = open_tab(context, demo)
    start_slow(tab)
    press(second, "Add Assam")
    assert cart(second) == {"sencha": 1, "assam": 1}
    expect_report(tab, "Both are kept.")
    assert cart(tab) == {"sencha": 1, "assam": 1, "oolong": 1}
    second.reload()
    assert cart(second) == {"sencha": 1, "assam": 1, "oolong": 1}
    screenshot(tab, "merged")


@on_a_slow_request
def test_slow_request_and_the_end_in_a_second_tab(context, demo):
    tab = new_session(context, demo)
    press(tab, "Add Sencha")
    second = open_tab(context, demo)
    start_slow(tab)
    press(second, "End the session")
    ended = handle(second)
    expect_report(tab, "Ended stays ended.")
    assert handle(tab) == ended
    assert cart(tab) == {}
    second.reload()
    assert handle(second) == ended
    assert cart(second) == {}
    # The token changed with the session. The first tab has heard of it.
    press(tab, "Add Assam")
    assert cart(tab) == {"assam": 1}


@on_a_slow_request
def test_slow_request_and_a_login_in_a_second_tab(context, demo):
    tab = new_session(context, demo)
    second = open_tab(context, demo)
    start_slow(tab)
    press(second, "Log in")
    expect_report(tab, "The change was dropped.")
    second.reload()
    assert second.inner_text("#user") == "Mira"
    assert cart(second) == {}


@on_a_slow_request
def test_show_me(context, demo, screenshot):
    tab = new_session(context, demo)
    tab.get_by_role("button", name="Show me").click()
    expect_report(tab, "A quick request has added a sencha")
    assert tab.get_by_role("button", name="Show me").is_disabled()
    screenshot(tab, "under-way")
    expect_report(tab, "Both are in the cart.")
    assert cart(tab) == {"oolong": 1, "sencha": 1}
    assert tab.locator("#log tr[data-path='/slow']").get_attribute("data-outcome") == "merged"


@on_a_slow_request
def test_show_me_is_honest_about_a_storage_that_cannot_swap(project, context, tmp_path, screenshot):
    demo = Demo(project, tmp_path / "demo", "cookie")
    try:
        tab = new_session(context, demo)
        tab.get_by_role("button", name="Show me").click()
        expect_report(tab, "The sencha is lost.")
        assert cart(tab) == {"oolong": 1}
        screenshot(tab, "cookie")
    finally:
        demo.stop()


def test_slow_request_without_script(chromium, demo):
    with chromium.new_context(java_script_enabled=False) as context:
        tab = context.new_page()
        tab.goto(demo.url)
        assert not tab.get_by_role("button", name="Show me").is_visible()
        tab.get_by_role("button", name="Start the slow request").click()
        tab.wait_for_url("**/#together")
        assert cart(tab) == {"oolong": 1}
        assert "nobody came in between" in tab.inner_text("#report")


def test_form_of_an_earlier_session(tab, context, demo, screenshot):
    # A tab that nobody has looked at since: its script has not fetched the new token.
    press(tab, "Add Sencha")
    token = tab.locator("[name=csrf_token]").first.input_value()
    second = open_tab(context, demo)
    press(second, "Log in")
    tab.evaluate(
        "token => document.getElementsByName('csrf_token').forEach(each => each.value = token)",
        token,
    )
    press(tab, "Add Assam")
    assert tab.inner_text("h1") == "That form was from an earlier session"
    screenshot(tab, "refused")
    tab.get_by_role("link", name="Back to a fresh page").click()
    assert cart(tab) == {"sencha": 1}


def test_restart_keeps_the_session(project, context, tmp_path):
    demo = Demo(project, tmp_path / "demo", "chain")
    try:
        tab = open_tab(context, demo)
        press(tab, "Add Assam")
        name = handle(tab)
        demo.stop()
        demo.start()
        tab = open_tab(context, demo)  # Cookies know no ports.
        assert handle(tab) == name
        assert cart(tab) == {"assam": 1}
    finally:
        demo.stop()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 800, 1400])
def test_looks(chromium, demo, screenshot, width, scheme):
    with chromium.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme
    ) as context:
        tab = open_tab(context, demo)
        press(tab, "Add Sencha")
        press(tab, "Add Rooibos")
        tab.get_by_label("Tomas").check()
        press(tab, "Log in")
        press(tab, "Add Assam")
        press(tab, "Flash")
        screenshot(tab, f"{width}-{scheme}")
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        assert tab.evaluate(TOO_FAINT) == []
        assert tab.evaluate(UNLABELLED) == []
        tab.keyboard.press("Tab")
        assert tab.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


UNLABELLED = """() => [...document.querySelectorAll("input:not([type=hidden]), button")]
  .filter((each) => !(each.labels.length || each.textContent.trim()))
  .map((each) => each.outerHTML)"""

TOO_FAINT = """() => {
  // WCAG 2.2, 1.4.3: the contrast of every text with what is behind it is at least 4.5.
  const parse = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const luminance = (colour) => {
    const [r, g, b] = parse(colour).slice(0, 3).map((c) => c / 255)
      .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if ((parse(colour)[3] ?? 1) > 0) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const faint = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !element.checkVisibility()) continue;
    const [a, b] = [luminance(getComputedStyle(element).color), luminance(behind(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) faint.push([texts.currentNode.data.trim(), ratio]);
  }
  return faint;
}"""
