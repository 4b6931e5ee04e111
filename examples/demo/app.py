"""The application, and the command that serves it on this machine: ``python -m examples.demo``."""

from __future__ import annotations

import argparse
import logging
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import waitress
from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError

from . import places, valkey
from .security import SecurityPolicy

HOST = "127.0.0.1"
PORTS = range(8080, 8180)


def make_app(settings: Mapping[str, Any]) -> Any:
    """Return the WSGI application. The settings are what an ini file would say."""
    tidy = {"jinja2.trim_blocks": True, "jinja2.lstrip_blocks": True}
    with Configurator(settings={**tidy, **settings}) as config:
        config.include("pyramid_pluggable_session")
        config.include("pyramid_jinja2")
        config.set_security_policy(SecurityPolicy())
        config.set_default_csrf_options(require_csrf=True)
        config.include(".journal")
        for module in (".views", ".devices"):
            config.include(module)
            config.scan(module)
        config.scan(".errors")
        config.add_static_view("static", "static")
        return config.make_wsgi_app()


def main(argv: Sequence[str] | None = None) -> None:
    """Serve the demo until Ctrl-C."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    logging.getLogger("waitress").setLevel(logging.ERROR)
    with suppress(KeyboardInterrupt), valkey.storage(arguments.plug, arguments.data) as plug:
        try:
            app = make_app(places.settings(arguments.data, plug, dict(arguments.set)))
            listener = listen(PORTS if arguments.port is None else [arguments.port])
        except ConfigurationError as error:
            sys.exit(f"The demo cannot start. {getattr(error, 'evalue', error)}")
        except OSError as error:
            sys.exit(f"The demo cannot start: {error}")
        _welcome(f"http://{HOST}:{listener.getsockname()[1]}/", arguments.plug)
        waitress.serve(app, sockets=[listener], threads=8)


def listen(ports: Sequence[int]) -> socket.socket:
    """Return a socket on the first of the ports that is free."""
    for port in ports:
        try:
            return socket.create_server((HOST, port))
        except OSError as error:
            taken = error
    raise taken


def _welcome(url: str, plug: str) -> None:
    print(
        f"\n  The demo is at {url}  (sessions: {plug.partition(':')[0]}; Ctrl-C stops it)\n\n"
        "  Put tea into the cart. Log in, and see the session get a new id. Start the slow\n"
        "  request, and click in a second tab while it runs. Log in from a private window, too,\n"
        "  and end that session from here.\n\n"
        "  Another storage changes nothing else: make demo PLUG=memory, or file, sqlite, dbm,\n"
        "  lmdb, cookie, chain, redis, or any plug's URL.\n",
        flush=True,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m examples.demo",
        description="Serve the demo of pyramid_pluggable_session on this machine.",
    )
    parser.add_argument(
        "--plug",
        default="sqlite",
        metavar="SPEC",
        help="the storage: a short name, a URL or a dotted name (default: sqlite)",
    )
    parser.add_argument(
        "--port",
        type=int,
        metavar="N",
        help=f"the port, 0 for any (default: the first free one from {PORTS[0]})",
    )
    parser.add_argument(
        "--set",
        type=_setting,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="any other setting, such as pluggable_session.encrypt=true; may be repeated",
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=places.DATA,
        metavar="DIRECTORY",
        help="where the secret and the sessions are kept (default: var/demo)",
    )
    return parser


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=VALUE")
    return name.strip(), value.strip()
