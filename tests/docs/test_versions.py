"""What the documentation promises of versions is what is tested, and what happens."""

import re
import subprocess
import sys
import warnings
from importlib.metadata import metadata, requires

import pytest

import test_formats
from apps import App
from pyramid_pluggable_session import __version__, record
from snippets import DOCS, ROOT, snippets

PAGE = DOCS / "versions.md"
TEXT = PAGE.read_text()


def supported(what):
    (cell,) = re.findall(rf"(?m)^\| {what} \| (.*?) \|", TEXT)
    return cell.split(", ")


def test_the_pythons_are_those_that_are_declared_and_tested():
    prefix = "Programming Language :: Python :: 3."
    package = metadata("pyramid_pluggable_session")
    declared = [each for each in package.get_all("Classifier") if each.startswith(prefix)]
    assert supported("Python") == [each.rpartition(" ")[2] for each in declared]
    assert package["Requires-Python"] == f">={supported('Python')[0]}"
    (tested,) = re.findall(r"(?m)^SHORT = (\{.*\})$", (ROOT / "noxfile.py").read_text())
    assert supported("Python") == re.findall(r'"(3\.\d+)":', tested)


def test_the_pyramids_are_those_that_are_declared_and_tested():
    (needed,) = (each for each in requires("pyramid_pluggable_session") if each == "pyramid>=2.0")
    assert needed.endswith(supported("Pyramid")[0])
    tested = re.findall(r"pyramid==(2\.\d+)\.\*", (ROOT / "noxfile.py").read_text())
    assert supported("Pyramid") == tested


def test_the_command_tells_the_version():
    (command,) = (
        each.text.removeprefix("$ ").strip()
        for each in snippets(PAGE, "console")
        if "__version__" in each.text
    )
    program, option, code = re.fullmatch(r'(python) (-c) "(.*)"', command).groups()
    assert program == "python"
    done = subprocess.run(
        [sys.executable, option, code], check=False, capture_output=True, text=True
    )
    assert done.stdout == f"{__version__}\n"


def test_the_form_of_a_record_is_in_its_first_byte():
    (form,) = re.findall(r"which form it has \((\d+), until now\)", TEXT)
    assert bytes.fromhex(test_formats.SIGNED)[0] == record.FORMAT == int(form)


@pytest.mark.parametrize("known", [True, False], ids=["known", "not known"])
def test_a_record_in_a_form_that_is_not_known_ends_its_session(known):
    assert "a record in a form that is not known is taken for a damaged one" in TEXT
    app = App()
    client = app.client()
    client.do(lambda session: session.update(cart="tea"))
    (session_id,) = app.plug.ids()
    data, expires_at = app.plug._records[session_id]
    form = data[0] if known else data[0] + 1
    app.plug._records[session_id] = bytes([form]) + data[1:], expires_at
    app.event_names()
    found = client.do(lambda session: dict(session)).result
    if known:
        assert (found, app.plug.ids()) == ({"cart": "tea"}, [session_id])
    else:
        assert (found, app.plug.ids()) == ({}, [])
        assert app.event_names() == ["SessionRejected:record: unknown format"]


def test_the_names_for_a_while_warn_as_the_page_says():
    client = App(compat="true").client()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        client.do(lambda session: session.save())
    (warning,) = caught
    assert warning.category is DeprecationWarning
    assert warning.filename == __file__, "the line to change"
    (command,) = (each.text for each in snippets(PAGE, "console") if "pytest" in each.text)
    assert f"-W error::{warning.category.__name__} " in command
