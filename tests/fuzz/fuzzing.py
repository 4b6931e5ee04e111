"""What the fuzz targets share: a libFuzzer loop, and pieces of input that chance would not find."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import pathlib
import sys

import atheris


def instrumented(*names):
    """Import modules of the package so that the fuzzer sees which branches are taken."""
    # What Atheris says about each module is no use to anybody.
    with (
        contextlib.redirect_stderr(io.StringIO()),
        atheris.instrument_imports(include=["pyramid_pluggable_session"]),
    ):
        return [importlib.import_module(f"pyramid_pluggable_session.{name}") for name in names]


def fill_in(data, pieces):
    """Return the input with each byte 1, 2, 3... replaced by that piece.

    So a fuzzer can put a good cookie or a password anywhere, and change what is around it, without
    having to guess it.
    """
    for number, piece in enumerate(pieces, start=1):
        data = data.replace(bytes([number]), piece)
    return data


def run(one_input):
    """Fuzz until a finding, or until an option of libFuzzer's on the command line says stop."""
    logging.disable()
    words = pathlib.Path(sys.argv[0]).with_suffix(".dict")
    arguments = [f"-dict={words}"] if words.exists() else []
    atheris.Setup([*sys.argv, *arguments], one_input)
    atheris.Fuzz()
