"""``psessions INI COMMAND``: its arguments, its exit codes, and how errors are told."""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import Final

from pyramid.exceptions import ConfigurationError

from ..errors import PlugUnavailable, SessionError
from .context import Context, UsageError
from .output import Output

OK: Final = 0
FOUND: Final = 1
"""There is something to do: a check failed, or what was asked for is not there."""
WRONG: Final = 2
"""The arguments or the configuration are wrong, and nothing was done."""
UNAVAILABLE: Final = 3
"""The storage could not be reached, or not all the way: run the command again."""
INTERRUPTED: Final = 130

COMMANDS: Final = (
    "check",
    "stats",
    "list",
    "show",
    "end",
    "owner",
    "purge",
    "copy",
    "rekey",
    "secret",
    "translate",
)
"""Each is a module ``commands.<name>_`` with ``HELP``, ``EXAMPLES``, ``configure``, ``run``, and
``NEEDS_APPLICATION`` if it does not."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    args = make_parser().parse_args(_ini_first(sys.argv[1:] if argv is None else argv))
    output = Output(sys.stdout, json=getattr(args, "json", False))
    try:
        code = _run(args, output)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader, ``head`` say, has seen enough. Nothing more can be written, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except KeyboardInterrupt:
        print("interrupted; what was done stays done, run it again to go on", file=sys.stderr)
        return INTERRUPTED
    return code


def _ini_first(argv: Sequence[str]) -> Sequence[str]:
    """Return the arguments in their order if they begin with ``COMMAND INI``, as many would say."""
    if len(argv) > 1 and argv[0] in COMMANDS and not argv[1].startswith("-"):
        return [argv[1], argv[0], *argv[2:]]
    return argv


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="psessions",
        description="See, move and end the sessions of a Pyramid application.",
        epilog=_EPILOG,
        formatter_class=_Formatter,
    )
    parser.add_argument("ini", metavar="INI", help="the application's ini file; file.ini#section")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS:
        module = _command(name)
        command = commands.add_parser(
            name,
            help=module.HELP,
            description=module.HELP[0].upper() + module.HELP[1:] + ".",
            epilog="examples:\n" + "\n".join(f"  psessions {each}" for each in module.EXAMPLES),
            formatter_class=_Formatter,
        )
        module.configure(command)
    return parser


class _Formatter(argparse.HelpFormatter):
    """Keeps the lines of a text, each wrapped to the width of the terminal."""

    def add_argument(self, action: argparse.Action) -> None:
        super().add_argument(action)
        # argparse forgets that commands are indented by one step more, and the longest one's help
        # gets a line of its own.
        for command in self._iter_indented_subactions(action):
            length = len(self._format_action_invocation(command)) + self._current_indent
            self._action_max_length = max(self._action_max_length, length)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        lines = []
        for line in text.splitlines():
            margin = indent + " " * (len(line) - len(line.lstrip()))
            wrapper = textwrap.TextWrapper(
                width,
                initial_indent=margin,
                subsequent_indent=margin and margin + "  ",
                break_on_hyphens=False,
            )
            lines += wrapper.wrap(line.strip()) or [""]
        return "\n".join(lines)


def _run(args: argparse.Namespace, output: Output) -> int:
    command = _command(args.command)
    code: int
    try:
        if not getattr(command, "NEEDS_APPLICATION", True):
            code = command.run(output, args)
            return code
        with Context.open(args.ini, output) as context:
            code = command.run(context, args)
            return code
    except (UsageError, ConfigurationError) as error:
        return _fail(WRONG, str(error))
    except PlugUnavailable as error:
        return _fail(UNAVAILABLE, str(error))
    except SessionError as error:
        return _fail(FOUND, str(error))


def _fail(code: int, message: str) -> int:
    # What was printed belongs before it, also where both go to one file.
    sys.stdout.flush()
    print(f"psessions: {message}", file=sys.stderr)
    return code


def _command(name: str) -> ModuleType:
    # "_": some of the names are those of Python's own.
    return import_module(f"..commands.{name}_", __name__)


_EPILOG = f"""\
exit codes:
  {OK:<4} it is done
  {FOUND:<4} a check failed, or what was asked for is not there
  {WRONG:<4} wrong arguments or configuration; nothing was done
  {UNAVAILABLE:<4} the storage could not be reached
  {INTERRUPTED:<4} interrupted; run it again to go on

examples:
  psessions production.ini check
  psessions production.ini list --owner ada
  psessions production.ini end 3f2a91c07b55
  psessions production.ini show --help

A session is named by its handle, a hash of its id: enough to tell it from others, and of no use \
to get into it.
"""
