"""What docs/proxy.md says of proxies, caches and cookies, with its own configurations."""

from __future__ import annotations

import http.client
import json
import os
import pathlib
import re
import ssl
import sys

import pytest
from pyramid.config import Configurator
from pyramid.response import Response
from webtest import TestApp

from apps import SECRET, App, set_cookies
from certificates import certificate
from pyramid_pluggable_session.plugs.memory import MemoryPlug
from pyramid_pluggable_session.testing import FakeClock
from servers import Server, free_port
from servers.nginx import Nginx
from snippets import DOCS, configurations, run_python, snippets

PAGE = DOCS / "proxy.md"
TEXT = PAGE.read_text()
(NGINX,) = snippets(PAGE, "nginx")
(GUNICORN,) = [each for each in snippets(PAGE, "python") if each.caption]
WAITRESS = next(each for each in snippets(PAGE, "ini") if "[server:main]" in each.text)
HOST, BELOW_A_PATH, IN_A_FRAME, SHARED = (settings for _, settings in configurations(PAGE))
ADDRESSES = {"10.0.0.11:8000": "127.0.0.1:{}", "10.0.0.2": "127.0.0.1"}
ELSEWHERE = "127.0.0.2"  # that is this machine, too, and not the proxy


def tell(request):
    """Log in, more or less, and tell what the application knows of the client."""
    request.session["user"] = "ada"
    return {
        "address": request.client_addr,
        "url": request.url,
        "host": request.host,
        "remote": request.remote_addr,
    }


def make_app(global_config=None, **settings):
    given = {"pluggable_session.secret": SECRET, "pluggable_session.plug": "memory", **settings}
    with Configurator(settings=given) as config:
        config.include("pyramid_pluggable_session")
        config.add_route("tell", "/")
        config.add_view(tell, route_name="tell", renderer="json")
        return config.make_wsgi_app()


def put(text, port):
    for old, new in ADDRESSES.items():
        assert old in text
        text = text.replace(old, new.format(port))
    return text


class Waitress(Server):
    """pserve with the settings of the page."""

    def command(self):
        ini = f"[app:main]\nuse = call:{__name__}:make_app\n{put(WAITRESS.text, self.port)}"
        path = pathlib.Path(self.folder, "production.ini")
        path.write_text(ini)
        pserve = "import sys; from pyramid.scripts.pserve import main; sys.exit(main())"
        return [sys.executable, "-c", pserve, str(path)]

    def options(self):
        return with_our_path()


class Gunicorn(Server):
    """gunicorn with the settings of the page."""

    def command(self):
        path = pathlib.Path(self.folder, "gunicorn.conf.py")
        path.write_text(put(GUNICORN.text, self.port))
        arguments = ["--config", str(path), "--no-control-socket", f"{__name__}:make_app()"]
        return [sys.executable, "-m", "gunicorn", *arguments]

    def options(self):
        return with_our_path()


def with_our_path():
    path = os.pathsep.join(filter(None, sys.path))
    return {"env": {**os.environ, "PYTHONPATH": path, "PYTHONWARNINGS": "ignore"}}


@pytest.fixture(scope="module", params=[Waitress, Gunicorn], ids=["waitress", "gunicorn"])
def served(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    with request.param(folder) as server:
        server.kind = request.param
        yield server


@pytest.fixture(scope="module")
def proxy(served, tmp_path_factory, require_program):
    """Return nginx with the page's configuration before that server, and what it is reached by."""
    program = require_program("nginx", "/usr/sbin/nginx")
    folder = tmp_path_factory.mktemp("proxy")
    crt, key = certificate(folder)
    port = free_port()
    site = NGINX.text
    for old, new in {
        "10.0.0.11:8000": f"127.0.0.1:{served.port}",
        "443": f"127.0.0.1:{port}",
        "/etc/nginx/example.org.crt": crt,
        "/etc/nginx/example.org.key": key,
    }.items():
        assert old in site
        site = site.replace(old, new)
    with Nginx(folder / "nginx", program, site, port) as nginx:
        nginx.tls = ssl.create_default_context(cafile=crt)
        yield nginx


def ask(port, tls=None, source=ELSEWHERE, **headers):
    """Return what the application tells, and the attributes of the cookie."""
    kind = http.client.HTTPConnection if tls is None else http.client.HTTPSConnection
    more = {} if tls is None else {"context": tls}
    connection = kind("127.0.0.1", port, timeout=60, source_address=(source, 0), **more)
    try:
        connection.request("GET", "/", headers={"Host": f"example.org:{port}", **headers})
        answer = connection.getresponse()
        told = json.loads(answer.read())
    finally:
        connection.close()
    return told, answer.headers["Set-Cookie"].split("; ")[1:]


FORGED = {"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "https"}


class TestProxy:
    def test_the_application_learns_what_it_has_to(self, proxy):
        told, attributes = ask(proxy.port, proxy.tls)
        assert "Secure" in attributes
        assert told["address"] == ELSEWHERE
        assert told["url"] == f"https://example.org:{proxy.port}/"

    def test_what_the_client_says_is_replaced(self, proxy):
        told, attributes = ask(
            proxy.port, proxy.tls, **{"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "http"}
        )
        assert "Secure" in attributes
        assert told["address"] == ELSEWHERE

    def test_past_the_proxy(self, served):
        told, attributes = ask(served.port, **FORGED)
        assert "Secure" not in attributes
        # As the page warns of.
        assert told["address"] == {Waitress: ELSEWHERE, Gunicorn: "6.6.6.6"}[served.kind]

    def test_a_proxy_that_appends(self, served):
        forged = {"X-Forwarded-For": "6.6.6.6, 10.1.1.1", "X-Forwarded-Proto": "https"}
        told, attributes = ask(served.port, source="127.0.0.1", **forged)
        assert "Secure" in attributes
        assert told["address"] == {Waitress: "10.1.1.1", Gunicorn: "6.6.6.6"}[served.kind]


class TestCaches:
    ROWS = re.findall(
        r"(?m)^\| (leaves.*?|looks.*?|sets.*?) \| (\w+) \|", TEXT.partition("## Caches")[2]
    )

    def test_the_table(self):
        said = "public, s-maxage=60"

        def view(request):
            if "look" in request.params:
                request.session.get("a")
            if "set" in request.params:
                request.session["a"] = request.params["set"]
            if "end" in request.params:
                request.session.invalidate()
            assert request.session is not None  # which is no look
            return Response(cache_control=request.params.get("says", said))

        app = App()
        client = app.client()
        client.do(lambda session: session.update(a=1))
        found = {}
        app.views["page"] = view
        for name, query in (
            ("leaves its session alone", ""),
            ("looks into its session", "look=1"),
            ("sets or deletes the cookie", "set=2"),
        ):
            visitor = app.client() if "sets" in name else client
            response = visitor.testapp.get(f"/do/page?{query}")
            varies = response.headers.get("Vary") == "Cookie"
            found[name] = "yes" if varies else "no"
            expected = "private" if "sets" in name else said
            assert response.headers["Cache-Control"] == expected
        assert found == dict(self.ROWS)
        response = client.testapp.get("/do/page?end=1&says=no-store")
        assert set_cookies(response)
        assert response.headers["Cache-Control"] == "no-store"

    def test_a_session_that_is_only_read_is_renewed_sometimes(self):
        with FakeClock() as clock:
            app, ends_with_browser = App(timeout=1000), App(timeout=1000, max_age="none")
            for each, expected in (app, 1), (ends_with_browser, 0):
                client = each.client()
                client.do(lambda session: session.update(a=1))
                assert set_cookies(client.do(dict)) == []
                clock.advance(101)
                assert len(set_cookies(client.do(dict))) == expected

    def test_what_a_careless_cache_is_told(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "page_of_proxies", None)  # to be forgotten afterwards
        page = run_python(PAGE, "page_of_proxies")
        scanned = []

        class Scanning(Configurator):
            def scan(self):
                scanned.append(self)
                self.add_route("page", "/{what}")
                self.add_view(show, route_name="page")

        def show(request):
            response = Response("hello")
            if request.matchdict["what"] != "public":
                request.session.get("user")
            if request.matchdict["what"] == "said":
                response.cache_control = "max-age=5"
            return response

        monkeypatch.setattr(page, "Configurator", Scanning)
        settings = {"pluggable_session.secret": SECRET, "pluggable_session.plug": "memory"}
        client = TestApp(page.main({}, **settings))
        assert scanned
        for what, expected in (("public", None), ("mine", "private"), ("said", "max-age=5")):
            assert client.get("/" + what).headers.get("Cache-Control") == expected


def cookie_of(settings, scheme="https"):
    of_others = ("pluggable_session.secret", "pluggable_session.plug", "pluggable_session.redis.")
    app = App(settings={k: v for k, v in settings.items() if not k.startswith(of_others)})
    client = app.client(**{"wsgi.url_scheme": scheme})
    (cookie,) = set_cookies(client.do(lambda session: session.update(a=1)))
    name, *attributes = cookie.split("; ")
    attributes = [each for each in attributes if not each.startswith("Max-Age")]
    return name.partition("=")[0], attributes


class TestCookies:
    def test_for_a_host(self):
        expected = ["Path=/", "Secure", "HttpOnly", "SameSite=Lax"]
        assert cookie_of(HOST, "http") == ("__Host-session", expected)

    def test_below_a_path(self):
        name, attributes = cookie_of(BELOW_A_PATH)
        assert (name, attributes[0]) == ("shop", "Path=/shop")

    def test_the_path_is_not_found_out(self):
        app = App()
        client = app.client(SCRIPT_NAME="/shop")
        (cookie,) = set_cookies(client.do(lambda session: session.update(a=1)))
        assert "; Path=/;" in cookie

    def test_in_a_frame(self):
        _, attributes = cookie_of(IN_A_FRAME)
        assert attributes[-2:] == ["SameSite=None", "Partitioned"]
        assert "Secure" in attributes

    def test_one_name_for_two_applications(self):
        """Each takes the other's cookie for garbage, and puts its own in its place."""
        shop, wiki = App(), App(secret="another-" * 8)
        client = shop.client()
        client.do(lambda session: session.update(user="ada"))
        visitor = wiki.client(client.cookie)
        visitor.do(lambda session: session.update(page=1))
        assert shop.client(visitor.cookie).data() == {}

    def test_two_names_for_two_applications(self):
        shop, wiki = App(cookie_name="shop"), App(cookie_name="wiki")
        cookies = []
        for app in (shop, wiki):
            client = app.client()
            (cookie,) = set_cookies(client.do(lambda session: session.update(a=1)))
            cookies.append(cookie.partition(";")[0])
        for app in (shop, wiki):
            app.views["look"] = lambda request: dict(request.session)
            headers = {"Cookie": "; ".join(cookies)}
            assert TestApp(app.wsgi).get("/do/look", headers=headers).json == {"a": 1}

    @pytest.mark.parametrize(
        ("domain", "shared"),
        [(None, True), ("shop.example.org www.example.org", False)],
        ids=["the page's", "a list of both"],
    )
    def test_shared_between_hosts(self, domain, shared):
        settings = dict(SHARED)
        domain = domain or settings["pluggable_session.domain"]
        name = settings["pluggable_session.cookie_name"]
        plug = MemoryPlug()
        shop, www = (App(plug, cookie_name=name, domain=domain, secure="true") for _ in range(2))
        jar = shop.client()
        jar.do(lambda session: session.update(user="ada"), base_url="https://shop.example.org")
        found = []
        www.views["look"] = lambda request: found.append(dict(request.session)) or {}
        other = TestApp(www.wsgi, cookiejar=jar.testapp.cookiejar)
        other.get("https://www.example.org/do/look")
        assert found == [{"user": "ada"} if shared else {}]

    def test_the_cookies_of_before_and_after_a_new_domain(self):
        """With one name, both are sent, and neither is believed."""
        old, new = App(), App(domain=SHARED["pluggable_session.domain"])
        cookies = []
        for app in (old, new):
            client = app.client()
            client.do(lambda session: session.update(user="ada"))
            cookies.append(f"session={client.cookie}")
        new.views["look"] = lambda request: dict(request.session)
        answer = TestApp(new.wsgi).get("/do/look", headers={"Cookie": "; ".join(cookies)})
        assert answer.json == {}

    def test_with_one_secret_a_session_of_one_is_one_of_the_other(self):
        shop = App()
        client = shop.client()
        client.do(lambda session: session.update(user="ada"))
        assert App(plug=shop.plug).client(client.cookie).data() == {"user": "ada"}
        for other in (App(plug=shop.plug, salt="wiki"), App(plug=shop.plug, secret="x" * 40)):
            assert other.client(client.cookie).data() == {}
