"""A full disk, and one that fails: what is stored stays whole, and nobody is told it was saved."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import socket
import subprocess
import sys
import traceback
from contextlib import contextmanager, suppress

import pytest
from pyramid.exceptions import ConfigurationError
from served import EMBEDDED, on

from apps import App, set_cookies
from pyramid_pluggable_session.events import SessionRejected
from pyramid_pluggable_session.interfaces import IPlugSession

pytestmark = pytest.mark.parametrize("storage", EMBEDDED)

DISK = 16 * 1024 * 1024

FAULTY = "write,pwrite64,ftruncate,truncate,rename,renameat,renameat2,unlink,unlinkat,fsync"


class SmallDisk:
    """A file system of its own, in memory."""

    def __init__(self, folder):
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self, leave):
        """Take all the room but so many bytes."""
        size = shutil.disk_usage(self.folder).free - leave
        with open(self._ballast, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(size, 1))

    def make_room(self):
        self._ballast.unlink(missing_ok=True)


class FileSizeLimit:
    """Stands for a full disk where none can be mounted: no file grows beyond a limit."""

    def __init__(self, folder):
        self.folder = folder
        _, self._most = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(self, leave):
        resource.setrlimit(resource.RLIMIT_FSIZE, (leave, self._most))

    def make_room(self):
        resource.setrlimit(resource.RLIMIT_FSIZE, (self._most, self._most))


@pytest.fixture
def disk(tmp_path, experiment):
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=700", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        why = (getattr(error, "stderr", "") or str(error)).strip(" .\n").rpartition(": ")[2]
        experiment.storage += f" (file size limit, as mount says: {why})"
        limit = FileSizeLimit(folder)
        yield limit
        limit.make_room()
        return
    yield SmallDisk(folder)
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.experiment("the disk is full")
def test_full_disk(experiment, storage, disk):
    app = App(**on(storage, disk.folder))
    for run in experiment.repeat(short=8, long=400):
        user, leaver = begin(app, text=text(run)), begin(app, leaver=run)
        disk.fill(random.choice((0, random.randrange(100_000))))
        try:
            outcome = suffer(app, run, user, leaver)
            if run % 4 == 3:  # a restart at the wrong moment
                with suppress(ConfigurationError):
                    close(App(**on(storage, disk.folder)))
        finally:
            disk.make_room()
        fresh = App(**on(storage, disk.folder))
        check(experiment, fresh, run, user, leaver, outcome)
        experiment.forged += rejected(app) + rejected(fresh)
        # Restarted now and then, so that not every file has had its full size before.
        if run % 2:
            app, fresh = fresh, app
        close(fresh)
        if run % 5 == 0:
            app.registry.getUtility(IPlugSession).purge()
    assert experiment.errors > 0, "the disk was never full"


@pytest.mark.slow
@pytest.mark.experiment("the disk fails (EIO)")
def test_failing_disk(experiment, storage, tmp_path, require_program, missing):
    strace = require_program("strace")
    attempt = [strace, "-qq", "-o", os.devnull, "true"]
    if subprocess.run(attempt, check=False, capture_output=True).returncode:
        missing("strace may not trace processes here")
    app = App(**on(storage, tmp_path))
    with failing(strace, storage, tmp_path) as ask:
        for run in experiment.repeat(short=8, long=400):
            user, leaver = begin(app, text=text(run)), begin(app, leaver=run)
            outcome = ask(run, user, leaver)
            fresh = App(**on(storage, tmp_path))
            check(experiment, fresh, run, user, leaver, outcome)
            experiment.forged += rejected(fresh)
            close(fresh)
    assert experiment.errors > 0, "the disk never failed"


@contextmanager
def failing(strace, storage, folder):
    """Give a function that does :func:`suffer` where every seventh step of a change fails."""
    ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
    inject = ["-e", f"trace={FAULTY}", "-e", f"inject={FAULTY}:error=EIO:when=5+7"]
    code = "import test_full_disk; test_full_disk.suffer_here()"
    with theirs:
        child = subprocess.Popen(
            [
                *(strace, "-f", "--seccomp-bpf", "-qq", "-o", os.devnull, *inject),
                *(sys.executable, "-c", code, storage, str(folder), str(theirs.fileno())),
            ],
            pass_fds=[theirs.fileno()],
            # Written byte code would have its share of the failures.
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
            | {"PYTHONDONTWRITEBYTECODE": "1"},
            stderr=subprocess.DEVNULL,
        )

    def ask(*arguments):
        ours.sendall(json.dumps(arguments).encode())
        answer = json.loads(ours.recv(200_000))
        assert "error" not in answer, answer["error"]
        return answer

    with ours:
        ours.settimeout(60)
        try:
            yield ask
        finally:
            # It ends when nobody asks any more.
            ours.shutdown(socket.SHUT_RDWR)
            try:
                child.wait(60)
            finally:
                child.kill()


def suffer_here():
    """Suffer as often as the other side of a socket says, in a process of its own."""
    storage, folder, descriptor = sys.argv[1:]
    app = None
    while app is None:
        with suppress(ConfigurationError):
            app = App(**on(storage, folder))
    # Not a pipe: what is sent on a socket is not written, and does not fail.
    with socket.socket(fileno=int(descriptor)) as connection:
        while message := connection.recv(10_000):
            try:
                outcome = {**suffer(app, *json.loads(message)), "rejected": rejected(app)}
            except BaseException:
                outcome = {"error": traceback.format_exc()}
            connection.sendall(json.dumps(outcome).encode())


def suffer(app, run, user_cookie, leaver_cookie):
    """Do all that an application may want stored, and return what came of it."""
    user, leaver, stranger = app.client(user_cookie), app.client(leaver_cookie), app.client()

    def log_in(session):
        session.regenerate_id()
        session["user"] = run

    return {
        "wrote": answered(user, lambda session: session.update(text=text(run + 1))),
        "logged in": answered(user, log_in),
        "left": answered(leaver, lambda session: session.invalidate()),
        "came": answered(stranger, lambda session: session.update(stranger=text(run))),
        "read": user.do(dict, expect_errors=True).result,
        "user": user.cookie,
        "stranger": stranger.cookie,
    }


def answered(client, action):
    """Return whether the request was told that it is done; if not, that it was told in full."""
    response = client.do(action, expect_errors=True)
    if response.status_int == 200:
        return True
    assert response.status_int == 503, response.status
    assert set_cookies(response) == []
    return False


def check(experiment, app, run, user, leaver, outcome):
    """Hold what there is, now that the disk works again, against what came of the requests."""
    done = [outcome[name] for name in ("wrote", "logged in", "left", "came")]
    experiment.acknowledged += done.count(True)
    experiment.errors += done.count(False)
    experiment.forged += outcome.get("rejected", 0)

    expected = {"text": text(run + outcome["wrote"])}
    if outcome["logged in"]:
        expected["user"] = run
        experiment.resurrected += app.client(user).data() != {}
    experiment.forged += outcome["read"] not in (expected, None)
    now = app.client(outcome["user"])
    experiment.lost += now.data() != expected

    if outcome["left"]:
        experiment.resurrected += app.client(leaver).data() != {}
    else:
        experiment.lost += app.client(leaver).data() != {"leaver": run}
    if outcome["came"]:
        stranger = app.client(outcome["stranger"])
        experiment.lost += stranger.data() != {"stranger": text(run)}
        stranger.do(lambda session: session.invalidate())

    with experiment.timed():
        now.do(lambda session: session.update(again=True))
    experiment.lost += now.data() != {**expected, "again": True}
    for client in (now, app.client(leaver)):
        client.do(lambda session: session.invalidate())


def begin(app, **values):
    """Return the cookie of a new session."""
    client = app.client()
    client.do(lambda session: session.update(values))
    return client.cookie


def close(app):
    """Close the files of an application that is no longer used."""
    plug = app.registry.getUtility(IPlugSession)
    for each in (plug, getattr(plug, "authority", None)):
        if hasattr(each, "close"):
            each.close()


def rejected(app):
    """Return how many records were refused since the last time."""
    count = sum(isinstance(event, SessionRejected) for event in app.events)
    app.events.clear()
    return count


def text(number):
    """Return a text that shows whether it is whole, of a size that differs from the last one's."""
    return f"{number % 10}" * (number * 9_973 % 90_000)
