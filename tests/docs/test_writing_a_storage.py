"""The page on writing a storage, done step by step as it says."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from snippets import DOCS, snippets

PAGE = DOCS / "writing-a-storage.md"
TEXT = PAGE.read_text()
CHANGED = ", changed"
SECRET = "a secret for tests, of more than 32 bytes"
APPLICATION = """
import sys
from pyramid.config import Configurator
from pyramid.response import Response
from webtest import TestApp
from pyramid_pluggable_session.interfaces import IPlugSession

def count(request):
    request.session["visits"] = request.session.get("visits", 0) + 1
    return Response(str(request.session["visits"]))

settings = dict(zip(sys.argv[1::2], sys.argv[2::2]))
with Configurator(settings=settings) as config:
    config.include("pyramid_pluggable_session")
    config.add_view(count)
    app = config.make_wsgi_app()
clients = [TestApp(app) for _ in range(2)]
print([int(client.get("/", status=200).text) for client in clients + clients])
close = getattr(app.registry.getUtility(IPlugSession), "close", None)
close and close()
"""


def steps():
    """Return the files of the reader after each step, and what pytest then says on the page."""
    folder: dict[str, str] = {}
    found = []
    for each in snippets(PAGE):
        if each.caption is not None and each.caption.endswith(CHANGED):
            name = each.caption.removesuffix(CHANGED)
            folder[name] = changed(folder[name], each.text)
        elif each.caption is not None:
            folder[each.caption] = each.text
        elif passed := re.search(r"(\d+) passed(?:, (\d+) skipped)?", each.text):
            found.append((dict(folder), int(passed[1]), int(passed[2] or 0)))
    return found, folder


def changed(module, change):
    """Return a module with the parts of a change in the place of those of the same name."""
    old, new = ast.parse(module), ast.parse(change)
    lines = module.splitlines()
    (new_class,) = (node for node in new.body if isinstance(node, ast.ClassDef))
    old_class = next(node for node in old.body if getattr(node, "name", "") == new_class.name)
    ellipsis, *members = new_class.body
    assert source(change, ellipsis) == "    ...", "the change stands for the rest of the class"
    there = {named(node): node for node in old_class.body}
    for node in sorted(
        members, key=lambda node: -there[named(node)].lineno if named(node) in there else 0
    ):
        if named(node) in there:
            replaced = there[named(node)]
            lines[replaced.lineno - 1 : replaced.end_lineno] = [source(change, node)]
        else:
            position = len(lines)
            lines[position:] = ["", source(change, node)]
    decorator = old_class.decorator_list[0].lineno - 1
    lines[decorator] = source(change, new_class.decorator_list[0], "@")
    imports = [node for node in new.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    others = [node for node in new.body if node not in (*imports, new_class)]
    lines[decorator:decorator] = [*(source(change, node) for node in others), "", ""]
    first = next(node for node in old.body if isinstance(node, ast.Import)).lineno - 1
    lines[first:first] = [source(change, node) for node in imports]
    return "\n".join(lines) + "\n"


def named(node):
    return node.targets[0].id if isinstance(node, ast.Assign) else getattr(node, "name", None)


def source(text, node, before=""):
    return before + "\n".join(text.splitlines()[node.lineno - 1 : node.end_lineno]).removeprefix(
        before
    )


STEPS, FINISHED = steps()


def write(folder, files):
    for name, text in files.items():
        (folder / name).write_text(text)


def run(folder, *arguments, path=None):
    places = [str(path or folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(places)},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def run_pytest(folder, *arguments):
    # -W: no other file says what is to be done about warnings.
    options = ["-q", "-p", "no:cacheprovider", "-W", "error::ResourceWarning", "-c", os.devnull]
    return run(folder, "-m", "pytest", *options, "--rootdir", folder, *arguments)


def visits(folder, path=None, **settings):
    pairs = [f"pluggable_session.secret={SECRET}"]
    pairs += [f"pluggable_session.{name.replace('__', '.')}={v}" for name, v in settings.items()]
    words = [word for pair in pairs for word in pair.split("=", 1)]
    done = run(folder, "-c", APPLICATION, *words, path=path)
    assert done.returncode == 0, done.stderr
    return ast.literal_eval(done.stdout)


def test_every_step_passes_more_of_the_suite(tmp_path):
    assert len(STEPS) == 5
    passed = [count for _, count, _ in STEPS]
    assert passed == sorted(set(passed))
    assert STEPS[-1][2] == 0, "the last step has all of it"
    folders = [tmp_path / str(number) for number in range(len(STEPS))]
    for folder, (files, _, _) in zip(folders, STEPS, strict=True):
        folder.mkdir()
        write(folder, files)
    # They wait for expiries and for the disk most of the time, and may as well do so together.
    with ThreadPoolExecutor() as together:
        runs = list(together.map(lambda folder: run_pytest(folder, "-rs"), folders))
    for done, (_, count, skipped) in zip(runs, STEPS, strict=True):
        assert done.returncode == 0, done.stdout + done.stderr
        assert re.search(rf"\b{count} passed", done.stdout), done.stdout
        assert int((re.search(r"(\d+) skipped", done.stdout) or "00")[1]) == skipped, done.stdout
    shown = next(each.text for each in snippets(PAGE, "text") if "SKIPPED" in each.text)
    reasons = re.findall(r"SKIPPED \[(\d+)\] \.\.\.: (.*)", shown)
    assert len(reasons) == 3
    for times, reason in reasons:
        assert re.search(rf"SKIPPED \[{times}\] .*: {reason}", runs[0].stdout), runs[0].stdout


def ini(*names):
    """Return the page's settings, in the blocks in which all of these stand."""
    for each in snippets(PAGE, "text"):
        if all(name in each.text for name in names):
            return dict(re.findall(r"(?m)^pluggable_session\.(\S+) = (.*)$", each.text))
    raise AssertionError(f"the page has no settings with {names}")


def test_the_first_version_in_an_application(tmp_path):
    write(tmp_path, STEPS[0][0])
    settings = ini("plug = table_plug.TablePlug")
    assert visits(tmp_path, **settings) == [1, 1, 2, 2]
    assert (tmp_path / "table.db").exists()


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Return a directory in which the finished package is installed."""
    folder, target = (tmp_path_factory.mktemp(name) for name in ("package", "installed"))
    write(folder, FINISHED)
    # Nothing is fetched: what it needs is what the tests run with.
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*pip, "--no-build-isolation", "--target", target, folder], check=True)
    return target


@pytest.mark.parametrize(
    "words", [("plug = table\n", "table.path"), ("plug = table:///",)], ids=["name", "url"]
)
def test_the_package_has_a_short_name(installed, tmp_path, words):
    settings = {name: value.replace("/var/lib/app", str(tmp_path)) for name, value in ini(*words)
                .items()}  # fmt: skip
    assert visits(tmp_path, installed, **settings) == [1, 1, 2, 2]
    assert (tmp_path / "table.db").exists()


def test_the_package_in_a_chain(installed, tmp_path):
    plugs = f"memory table://{tmp_path}/table.db"
    assert visits(tmp_path, installed, plug="chain", chain__plugs=plugs) == [1, 1, 2, 2]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"plug": "table"}, "pluggable_session.table.path is not set. The database file."),
        ({"plug": "table:///x?timeuot=1"}, "Did you mean pluggable_session.table.timeout?"),
        ({"plug": "table:///x?timeout=0"}, "must be a number of seconds above 0, not '0'"),
    ],
    ids=["missing", "unknown", "bad"],
)
def test_its_options_are_checked(installed, tmp_path, settings, message):
    with pytest.raises(AssertionError, match=re.escape(message)):
        visits(tmp_path, installed, **settings)


def test_check_tells_the_remedy(installed, tmp_path):
    # What holds a lock for good is as good as a server that is down.
    script = f"""
import sqlite3, sys
from pyramid.config import Configurator
from pyramid_pluggable_session.scripts.psessions import main as psessions

def main(global_config, **settings):
    with Configurator(settings=settings) as config:
        config.include("pyramid_pluggable_session")
        return config.make_wsgi_app()

open("site.ini", "w").write('''[app:main]
use = call:__main__:main
pluggable_session.secret = {SECRET}
pluggable_session.plug = table://{tmp_path}/table.db?timeout=0.1
''')
print(psessions(["site.ini", "check"]))
other = sqlite3.connect("table.db", isolation_level=None)
other.execute("BEGIN EXCLUSIVE")
print(psessions(["site.ini", "check"]))
other.close()
"""
    done = run(tmp_path, "-c", script, path=installed)
    good, _, bad = done.stdout.partition("\n0\n")
    assert "table: load, store, swap, scan, purge" in good, done.stdout + done.stderr
    assert "0 failed" in good
    assert "FAIL" in bad
    assert re.sub(r"\s+", " ", bad).count("raise pluggable_session.table.timeout") == 1, bad


# Each is a way to break the finished plug: what is there, and what a beginner writes instead.
LOADS = "        return rows[0][0] if rows else None"
DUMPS = "        self._write(DUMPS, session.session_id, session_data, session.expires_at)"
CLEAR = "        self._write(CLEAR, session.session_id)"
IN_MEMORY = [
    (LOADS, "        return RECORDS.get(session.session_id)"),
    (DUMPS, "        RECORDS[session.session_id] = session_data"),
    (CLEAR, "        RECORDS.pop(session.session_id, None)"),
    ("class TablePlug:", "class TablePlug:\n    RECORDS = {}\n"),
]
MISTAKES = {
    "the class needs @implementer(IPlugSession)": [
        ("@implementer(ISwapPlug, IScanPlug, IPurgePlug)\n", "")
    ],
    "What was never stored is None, not an error.": [
        (LOADS, "        return {row[0]: row[0] for row in rows}[rows[0][0] if rows else 'x']")
    ],
    "a record of type str": [
        (LOADS, "        return rows[0][0].decode('latin-1') if rows else None")
    ],
    "make_plug() must lead to the same storage": [
        (old, new.replace("RECORDS", "self.records")) for old, new in IN_MEMORY[:3]
    ]
    + [("    def close(self)", "    @property\n    def records(self):\n        return "
        "self.__dict__.setdefault('kept', {})\n\n    def close(self)")],
    "A record replaces what was there": [("REPLACE INTO", "INSERT INTO")],
    "a record was absent while it was replaced": [
        (DUMPS, f"{CLEAR}\n        time.sleep(0.001)\n{DUMPS}")
    ],
    "To clear what is not there is not an error.": [
        (CLEAR, CLEAR.replace("self", "if not self") + ":\n            raise KeyError")
    ],
    "did not expire": [
        (DUMPS, DUMPS.replace("session.expires_at", "None")),
    ],
    "expired early": [
        (DUMPS, DUMPS.replace("session.expires_at", "int(session.expires_at or 9e9) - 1"))
    ],
    "the record before it is still there": [
        (DUMPS, "        if session.expires_at and session.expires_at < clock.now():\n"
                "            return\n" + DUMPS)
    ],
    "works on both sides of it": [
        (old, new.replace("RECORDS", "self.RECORDS")) if old != "class TablePlug:" else (old, new)
        for old, new in IN_MEMORY
    ],
    "of 8 threads were told that they stored": [
        ("        session_id, expires_at, now = ",
         "        if self.loads(session, request) != expected:\n            return False\n"
         "        time.sleep(0.01)\n        self.dumps(session, request, session_data)\n"
         "        return True\n        session_id, expires_at, now = ")
    ],
    "an expired record was in the way": [
        ("WHERE sessions.expires <= ?", "WHERE sessions.expires <= ? AND 0"),
    ],
    "scan() must be lazy: an iterator": [
        ("    def scan(self):", "    def scan(self):\n        return list(self._scan())\n\n"
                                "    def _scan(self):")
    ],
    "deleted of": [("if not deleted or time", "if True or time")],
}  # fmt: skip


def table():
    """Return the rows of the table of failures: the test, and what the suite says."""
    return re.findall(r"(?m)^\| `(test_\w+)`: (.+?) \| .+ \|$", TEXT)


def broken(changes):
    text = FINISHED["table_plug.py"]
    for old, new in changes:
        assert text.count(old) == 1, f"the page's plug has no {old}"
        text = text.replace(old, new)
    return text


def test_the_suite_says_what_is_wrong(tmp_path):
    """What a beginner gets wrong fails the test that the page names, with the words it has."""
    rows = table()
    assert {says for _, says in rows} == set(MISTAKES)
    nodes = []
    for number, (test, says) in enumerate(rows):
        name = f"mistake_{number}"
        (tmp_path / f"{name}.py").write_text(broken(MISTAKES[says]))
        (tmp_path / f"test_{name}.py").write_text(
            FINISHED["test_table_plug.py"].replace("from table_plug", f"from {name}")
        )
        nodes.append(f"test_{name}.py::TestTablePlug::{test}")
    for _ in range(3):
        done = run_pytest(tmp_path, *nodes)
        # A machine that takes long to read cannot tell whether a record expired early.
        if all_failed := re.search(rf"\b{len(rows)} failed", done.stdout):
            break
    assert all_failed, done.stdout + done.stderr
    assert "passed" not in done.stdout.splitlines()[-1]
    reports = re.split(r"(?m)^_+ TestTablePlug\.(test_\w+) _+$", done.stdout)
    found = list(zip(reports[1::2], reports[2::2], strict=True))
    for (test, says), (failed, report) in zip(rows, found, strict=True):
        assert failed == test
        assert says in report, f"{test} does not say {says!r}: {report}"


def test_the_attributes_are_those_of_the_suite():
    from pyramid_pluggable_session.testing import PlugContract

    rows = dict(re.findall(r"(?m)^\| `(\w+)` \| `([\w.]+)` \| .+ \|$", TEXT))
    theirs = {
        name: value
        for name, value in vars(PlugContract).items()
        if not name.startswith(("_", "test_")) and not callable(value)
    }
    assert {name: ast.literal_eval(value) for name, value in rows.items()} == theirs
