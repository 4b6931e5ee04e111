"""The demo's page "Your devices"."""

from __future__ import annotations

import pytest

pytest.importorskip("pyramid_jinja2", reason="the demo's templates need pyramid_jinja2")

from examples.demo.devices import name
from test_demo_app import flashes, form, make, press
from webtest import TestApp

LINUX = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0.0.0 Safari/537.36"
PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Safari/604.1"


@pytest.fixture(params=["memory", "file", "sqlite", "dbm", "chain"])
def shop(request, tmp_path):
    return make(tmp_path, request.param)


def log_in(shop, agent=LINUX, user="mira"):
    browser = TestApp(shop, extra_environ={"HTTP_USER_AGENT": agent, "REMOTE_ADDR": "192.0.2.7"})
    press(browser.get("/"), "/login", user=user)
    return browser


def listed(page):
    return {each["data-device"]: each for each in page.html.select("[data-device]")}


def test_one_device_ends_another(shop):
    desk, phone = log_in(shop), log_in(shop, PHONE)
    log_in(shop, user="tomas")
    page = desk.get("/devices")
    devices = listed(page)
    assert len(devices) == 2
    (here,) = (handle for handle, each in devices.items() if each.has_attr("data-current"))
    (there,) = devices.keys() - {here}
    assert "Chrome on Linux this one" in devices[here].get_text(" ", strip=True)
    assert "Safari on iPhone" in devices[there].get_text()
    assert "192.0.2.7" in devices[there].get_text()
    fields = {"csrf_token": form(page, "/devices/end")["csrf_token"].value, "device": there}
    page = desk.post("/devices/end", fields).follow()
    assert flashes(page) == ["That device is logged out."]
    assert listed(page).keys() == {here}
    assert "Nobody" in phone.get("/").html.find(id="user").get_text()
    page = desk.post("/devices/end", fields).follow()
    assert flashes(page) == ["That device was logged out already."]


def test_others_cannot_be_ended(shop):
    mira, tomas = log_in(shop), log_in(shop, user="tomas")
    (device,) = listed(mira.get("/devices"))
    fields = {"csrf_token": form(tomas.get("/devices"), "/devices/end")["csrf_token"].value}
    tomas.post("/devices/end", {**fields, "device": device})
    assert listed(mira.get("/devices")).keys() == {device}


def test_the_device_itself(shop):
    browser = log_in(shop)
    page = browser.get("/devices")
    (device,) = listed(page)
    form(page, "/devices/end").submit("device", value=device)
    assert browser.get("/devices").location == "http://localhost/"


def test_all_others(shop):
    here = log_in(shop)
    others = [log_in(shop), log_in(shop, PHONE)]
    page = press(here.get("/devices"), "/devices/end-others")
    assert flashes(page) == ["2 other devices are logged out."]
    assert len(listed(page)) == 1
    for each in others:
        assert each.get("/devices").location == "http://localhost/"
    page = press(page, "/devices/end-others")
    assert flashes(page) == ["No other devices are logged out."]


def test_a_storage_without_a_list_says_so(tmp_path):
    page = log_in(make(tmp_path, "cookie")).get("/devices")
    assert "The cookie storage cannot compare and swap" in page


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        (LINUX, "Chrome on Linux"),
        (PHONE, "Safari on iPhone"),
        ("curl/8", "A browser"),
        (None, "A browser"),
    ],
)
def test_names(agent, words):
    assert name(agent) == words
