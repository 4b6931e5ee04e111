"""How long work shows its progress: nothing of short work, and never much."""

from __future__ import annotations

import io
import sys

import pytest

from pyramid_pluggable_session.scripts import progress
from pyramid_pluggable_session.scripts.records import count_in, stored_in


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """Let each record take a second."""
    passed = iter(range(10_000))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(passed))


@pytest.fixture
def columns(monkeypatch):
    def set_columns(number):
        monkeypatch.setenv("COLUMNS", str(number))
        monkeypatch.setenv("LINES", "24")

    set_columns(80)
    return set_columns


def work(stream, count=35, total=70, **options):
    items = progress.shown(range(count), "copying", lambda: total, stream=stream, **options)
    assert list(items) == list(range(count))
    return stream.getvalue()


def test_a_line_every_ten_seconds_in_a_pipe(clock):
    assert work(io.StringIO()).splitlines() == [
        "copying: 9 of about 70, 1 a second",
        "copying: 19 of about 70, 1 a second",
        "copying: 29 of about 70, 1 a second",
    ]


def test_without_a_total(clock):
    assert work(io.StringIO(), 12, None) == "copying: 9, 1 a second\n"


def test_short_work_says_nothing():
    def total():
        raise AssertionError("it is not needed")

    stream = io.StringIO()
    assert list(progress.shown(range(1000), "copying", total, stream=stream)) == list(range(1000))
    assert stream.getvalue() == ""


def test_nor_on_a_terminal():
    assert work(Terminal()) == ""


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_quiet(stream, clock, monkeypatch):
    monkeypatch.setattr(progress, "BAR_AFTER", 0.0)
    assert work(stream, quiet=True) == ""


def test_standard_error_is_where_it_goes(clock, capsys):
    assert len(list(progress.shown(range(12), "copying", lambda: 70))) == 12
    assert capsys.readouterr() == ("", "copying: 9 of about 70, 1 a second\n")


class TestBar:
    @pytest.fixture(autouse=True)
    def at_once(self, monkeypatch):
        pytest.importorskip("tqdm")
        monkeypatch.setattr(progress, "BAR_AFTER", 0.0)
        monkeypatch.setattr(progress, "BAR_EVERY", 0.0)

    @pytest.mark.parametrize(
        ("width", "total", "there"),
        [
            (80, 70, ["copying:", "50%", "35.0/70.0", "left"]),
            (40, 70, ["50%", "left"]),
            (80, None, ["copying: 35.0,", "/s"]),
            (40, None, ["copying: 35.0,"]),
        ],
    )
    def test_it_fits_the_terminal(self, width, total, there, columns):
        columns(width)
        shown = work(Terminal(), total=total).split("\r")
        assert any(all(each in line for each in there) for line in shown), shown
        assert max(map(len, shown)) <= width

    def test_it_is_gone_in_the_end(self, columns):
        assert work(Terminal()).endswith(" \r")

    def test_it_makes_no_thread(self, columns):
        import threading

        before = threading.active_count()
        for _ in progress.shown(range(3), "copying", lambda: 3, stream=Terminal()):
            assert threading.active_count() == before


def test_without_tqdm_there_are_lines_on_a_terminal(clock, monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert work(Terminal()).startswith("copying: 9 of about 70")


class TestTotal:
    def test_of_a_plug_that_cannot_tell(self):
        assert stored_in(object()) == (None, None)

    def test_of_one_that_can(self):
        class Plug:
            def stored(self):
                return 3, None

        assert stored_in(Plug()) == (3, None)
        assert count_in(Plug()) == 3

    def test_of_one_that_fails(self):
        class Plug:
            outages = (LookupError,)

            def stored(self):
                raise KeyError("the server")

        assert stored_in(Plug()) == (None, None)
