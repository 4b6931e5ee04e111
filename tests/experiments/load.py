"""The demo under load: processes that serve it, shoppers who use it, and what they may be shown."""

from __future__ import annotations

import html
import http
import http.client
import json
import os
import pathlib
import random
import re
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple
from urllib.parse import urlencode

from pyramid_pluggable_session.keys import handle
from servers import Server

HERE = pathlib.Path(__file__).resolve().parent
THREADS = 8  # of each process that serves
WAIT_AFTER_ERROR = 0.05  # seconds until a shopper tries again
NOBODY = "Nobody"
USERS = {"mira": "Mira", "tomas": "Tomas"}
TEAS = ("sencha", "assam", "rooibos")

ACTIONS = {"look": 60, "change": 30, "log_in": 5, "log_out": 5}
"""What shoppers do, and how often of a hundred times."""

ENOUGH = 100  # changes that were acknowledged


def make_app(*_):
    """Return the demo with the settings that the environment has as JSON."""
    from examples.demo import app, places

    given = json.loads(os.environ["LOAD_SETTINGS"])
    data, plug = pathlib.Path(given.pop("data")), given.pop("plug")
    return app.make_app(places.settings(data, plug, given))


class Demo(Server):
    """A process that serves the demo by waitress.

    ``settings`` are those of the demo, with its ``plug`` and the directory for its ``data``.
    """

    def __init__(self, folder, settings):
        super().__init__(folder)
        os.makedirs(self.folder, exist_ok=True)
        self.settings = settings

    def command(self):
        return [
            sys.executable, "-m", "waitress", "--listen", f"{self.host}:{self.port}",
            "--threads", str(THREADS), "--call", "load:make_app",
        ]  # fmt: skip

    def options(self):
        path = os.pathsep.join([str(HERE), str(HERE.parents[1]), *filter(None, sys.path)])
        given = {"LOAD_SETTINGS": json.dumps(self.settings), "PYTHONPATH": path}
        return {"env": {**os.environ, **given}}

    def memory(self):
        """Return how many bytes of memory the process has."""
        with open(f"/proc/{self.process.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def descriptors(self):
        """Return how many files and sockets the process has open."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


class Answer(NamedTuple):
    """An answer that can be relied on. ``cookie`` is the one that it sets, if it does."""

    status: int
    text: str
    cookie: str | None


class Tab:
    """One tab of a browser: a connection to each server, which is kept."""

    def __init__(self, servers, report):
        self.servers, self.report = servers, report
        self.connections = {}

    def send(self, method, path, cookie=None, **form):
        """Return a server's answer; None if there was an error, and nobody knows what was done."""
        server = random.choice(self.servers)
        headers = {"Cookie": f"session={cookie}"} if cookie else {}
        body = urlencode(form) if form else None
        if form:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        connection = self.connections.get(server)
        if connection is None:
            connection = http.client.HTTPConnection(server.host, server.port, timeout=30)
            self.connections[server] = connection
        began = time.monotonic()
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            text = response.read().decode()
        except (OSError, http.client.HTTPException):
            self.connections.pop(server).close()
            self.report.failed()
            # Somebody who balances the load would not send everything to a dead server, either.
            time.sleep(WAIT_AFTER_ERROR)
            return None
        self.report.slowest = max(self.report.slowest, time.monotonic() - began)
        if response.status == http.HTTPStatus.SERVICE_UNAVAILABLE:
            self.report.failed()
            time.sleep(WAIT_AFTER_ERROR)
            return None
        set_cookies = [
            value.partition(";")[0].partition("=")[2]
            for value in response.headers.get_all("Set-Cookie", ())
            if value.startswith("session=")
        ]
        return Answer(response.status, text, set_cookies[-1] if set_cookies else None)

    def close(self):
        for connection in self.connections.values():
            connection.close()
        self.connections.clear()


class Page:
    """What the demo shows."""

    def __init__(self, text):
        assert 'id="handle"' in text, text[:2000]
        self.handle = re.search('id="handle">([0-9a-f]{12})<', text)[1]
        self.user = re.search(r'id="user">(\w+)<', text)[1]
        self.token = re.search(r'(?:csrf_token" value|data-token)="([0-9a-f]+)"', text)[1]
        self.cart = Counter(
            {
                tea: int(count)
                for tea, count in re.findall(r'data-tea="(\w+)" data-count="(\d+)"', text)
            }
        )
        flashes = re.findall(r'<div class="flash" role="status">\s*<p>(.*?)</p>', text)
        self.flashes = {html.unescape(each) for each in flashes}


class Report:
    """What all shoppers together have done and found."""

    def __init__(self):
        self.lock = threading.Lock()
        self.actions = Counter()
        self.acknowledged = 0
        self.errors = 0  # requests without an answer that can be relied on
        self.slowest = 0.0
        self.findings = []  # (kind, text): what must not be
        self.owners = {}  # handles of sessions, and who was shown them
        self.strays = set()  # ids of sessions that were begun by the way

    def failed(self):
        with self.lock:
            self.errors += 1

    def done(self):
        with self.lock:
            self.acknowledged += 1

    def find(self, kind, text):
        """Report an answer that must not be: lost, stale, resurrected or crossed."""
        self.findings.append((kind, text))

    def enough(self):
        """Tell whether everything was done, with success and without."""
        everything = self.actions.keys() == ACTIONS.keys()
        return everything and self.acknowledged >= ENOUGH and self.errors > 0

    def count(self, *kinds):
        return sum(kind in kinds for kind, _ in self.findings)


class Known:
    """What a shopper knows of a session.

    Of an unacknowledged change nobody knows whether it was done. So there are two bounds: at least
    ``least(moment)`` was in the cart at a moment, and there can never be more than ``most``.
    """

    def __init__(self, cookie, user=NOBODY):
        self.cookie, self.user = cookie, user
        self.doubtful = False  # it may have ended: a login or logout was not acknowledged
        self.floors = [(float("-inf"), Counter())]
        self.most = Counter()
        self.flashes = {}  # texts that are still to be shown, and since when
        self.perhaps = set()  # texts that may still be shown
        self.shown = {}  # texts that have been, and when

    @property
    def session_id(self):
        return self.cookie[:64]

    def least(self, moment):
        """Return what was in the cart at that moment. Later calls ask for later moments."""
        later = [each for each in self.floors if each[0] > moment]
        self.floors = [self.floors[-len(later) - 1], *later]
        return self.floors[0][1]

    def added(self, tea):
        self.floors.append((time.monotonic(), self.floors[-1][1] + Counter({tea: 1})))

    def saw(self, cart):
        self.floors.append((time.monotonic(), self.floors[-1][1] | cart))


class Over(NamedTuple):
    """A session that has ended, or has another id now: the old one must be of no use."""

    cookie: str
    token: str
    since: float  # of the monotonic clock
    at: float  # in epoch seconds

    @property
    def session_id(self):
        return self.cookie[:64]


class Shopper:
    """A user of the demo, who holds every answer against what has been before.

    ``staleness`` is for how many seconds two servers may show different states.
    """

    def __init__(self, name, servers, report, staleness=0.0):
        self.name, self.report, self.staleness = name, report, staleness
        self.servers = servers
        self.tabs = [Tab(servers, report) for _ in range(2)]
        self.second = ThreadPoolExecutor(1)
        self.dice = random.Random(name)
        self.known = self.token = None
        self.over = []
        self.number = 0

    def shop(self, goes_on):
        """Do one thing after the other for as long as that says so."""
        names, weights = list(ACTIONS), list(ACTIONS.values())
        while goes_on():
            if self.token is None:
                self.look()  # nobody can send a form without a page
                continue
            (action,) = self.dice.choices(names, weights)
            with self.report.lock:
                self.report.actions[action] += 1
            getattr(self, action)()
            if self.over and self.dice.random() < 0.05:
                self.come_back(self.dice.choice(self.over))

    def leave(self):
        """Look for the last time, try what has ended, and log out."""
        for _ in range(200):
            if self.token is not None:
                break
            self.look()
        for each in self.over[-50:]:
            self.come_back(each)
        self.look()
        self.log_out()

    def close(self):
        self.second.shutdown()
        for tab in self.tabs:
            tab.close()

    def find(self, kind, text):
        self.report.find(kind, f"shopper {self.name}: {text}")

    # Reading

    def look(self):
        """Load the page."""
        known, began = self.known, time.monotonic()
        answer = self.tabs[0].send("GET", "/", known and known.cookie)
        if answer is None:
            if known is not None:
                # They may have been shown, to nobody.
                known.perhaps |= known.flashes.keys()
                known.flashes = {}
            return
        page = Page(answer.text)
        self.token = page.token
        if self.report.owners.setdefault(page.handle, self.name) != self.name:
            self.find("crossed", "was shown another one's session")
        if known is None or page.handle != handle(known.session_id):
            if known is not None:
                self.report.strays.add(known.session_id)
                if not known.doubtful:
                    self.find("lost", "a session that nobody has ended")
            self.begin(answer, page)
        if self.known is not None:
            self.check(page, began)

    def begin(self, answer, page):
        """Begin anew, with the cookie of the answer."""
        self.known = None if answer.cookie is None else Known(answer.cookie)
        if self.known is None:
            # The old id has been given up by a login whose answer never came. That is remembered
            # for a while, and whoever comes with it gets nothing. Here a browser is closed.
            self.token = None
            if page.cart or page.user != NOBODY:
                self.find("resurrected", "an id that was given up still shows something")
        elif page.handle != handle(self.known.session_id):
            self.find("crossed", "the page is not of the session of its cookie")

    def check(self, page, began):
        """Hold a page against what is known."""
        known, moment = self.known, began - self.staleness
        if page.user != known.user:
            kind = "lost" if page.user == NOBODY else "crossed"
            self.find(kind, f"is {known.user}, and the page says {page.user}")
        least = known.least(moment)
        if not least <= page.cart:
            self.find(*self.what_is_missing(least, page.cart))
            known.floors = [(float("-inf"), page.cart)]
        if not page.cart <= known.most:
            self.find("crossed", f"put {known.most} into the cart, and there is {page.cart}")
            known.most |= page.cart
        known.saw(page.cart)
        mine = {text for text in page.flashes if text.startswith("to ")}
        for text in mine:
            if not text.startswith(f"to {self.name}:"):
                self.find("crossed", f"was shown {text!r}")
            elif known.shown.get(text, moment) < moment:
                self.find("stale", f"was shown {text!r} again")
            elif not (text in known.flashes or text in known.perhaps or text in known.shown):
                self.find("crossed", f"was shown {text!r}, of an earlier session")
            known.shown.setdefault(text, time.monotonic())
        for text, since in list(known.flashes.items()):
            if text in mine or since <= moment:
                del known.flashes[text]
                if text not in mine:
                    self.find("lost", f"was never shown {text!r}")

    def what_is_missing(self, least, cart):
        """Tell whether what a page did not show is lost, or comes back later."""
        time.sleep(self.staleness)
        for _ in range(4):
            answer = self.tabs[0].send("GET", "/panels", self.known.cookie)
            if answer is not None and least <= Page(answer.text).cart:
                return "stale", f"saw {cart} after {least}"
        return "lost", f"has {cart} of {least}"

    def come_back(self, over):
        """Use an old cookie once more, at any server."""
        if time.monotonic() - over.since <= self.staleness:
            return
        if self.dice.random() < 0.5:
            answer = self.tabs[0].send("GET", "/panels", over.cookie)
            back = answer and Page(answer.text).handle == handle(over.session_id)
        else:
            form = {"tea": "sencha", "csrf_token": over.token}
            answer = self.tabs[0].send("POST", "/cart", over.cookie, **form)
            back = answer and answer.status != http.HTTPStatus.BAD_REQUEST
        if back:
            self.find("resurrected", f"a session that was over for {time.time() - over.at:.3f} s")
        if answer and answer.cookie:
            self.report.strays.add(answer.cookie[:64])

    # Changing

    def post(self, path, tab=0, **form):
        """Send a form. Return the answer if it says that the form was accepted."""
        known = self.known
        form = {**form, "csrf_token": self.token}
        answer = self.tabs[tab].send("POST", path, known.cookie, **form)
        if answer is None:
            return None
        if answer.status == http.HTTPStatus.BAD_REQUEST:
            self.token = None
            if not known.doubtful:
                self.find("lost", f"POST {path}: the session's token is not known")
            if answer.cookie:
                self.report.strays.add(answer.cookie[:64])
            return None
        assert answer.status == http.HTTPStatus.SEE_OTHER, (answer.status, answer.text)
        self.report.done()
        return answer

    def add(self, path="/cart", tab=0):
        """Put tea into the cart; return it if that was acknowledged."""
        tea = "oolong" if path == "/slow" else self.dice.choice(TEAS)
        self.known.most[tea] += 1
        return tea if self.post(path, tab, tea=tea) else None

    def change(self):
        """Put tea into the cart, in one tab or in two at once, or leave a message."""
        how = self.dice.random()
        if how < 0.25:
            self.number += 1
            text = f"to {self.name}: {self.number}"
            if self.post("/flash", message=text):
                self.known.flashes[text] = time.monotonic()
            else:
                self.known.perhaps.add(text)
        elif how < 0.5:
            # This one keeps what it has read for a while.
            slow = self.second.submit(self.add, "/slow", tab=1)
            time.sleep(0.01)
            for tea in (self.add(), slow.result()):
                self.acknowledge(tea)
        else:
            self.acknowledge(self.add())

    def acknowledge(self, tea):
        if tea is not None:
            self.known.added(tea)

    def log_in(self):
        """Log in, which gives the session another id, or begins another one for another user."""
        name = self.dice.choice(list(USERS))
        known = self.known
        answer = self.leave_behind(self.post("/login", user=name))
        if answer is None:
            return
        if known.user in (NOBODY, USERS[name]):
            known.cookie, known.user = answer.cookie, USERS[name]
            self.known = known
        else:
            self.known = Known(answer.cookie, USERS[name])

    def log_out(self):
        """Log out, which ends the session. What is said about it begins another one."""
        answer = self.leave_behind(self.post("/logout"))
        if answer is not None:
            self.known = Known(answer.cookie)

    def leave_behind(self, answer):
        """Note that the old id is of no use any more, or that nobody knows whether it is.

        Return the answer to the login or logout, None if it did not do what it says.
        """
        known, token = self.known, self.token
        self.token = None
        if answer is None or (answer.cookie is None and known.doubtful):
            # In the latter case an earlier one was done after all.
            known.doubtful = True
            return None
        self.over.append(Over(known.cookie, token, time.monotonic(), time.time()))
        if answer.cookie is None or answer.cookie[:64] == known.session_id:
            self.find("resurrected", "the id is the same as before")
            return None
        known.doubtful = False
        return answer
