"""Reading the settings of a site from its ini file, without the site.

As PasteDeploy does, but for what needs the application: ``use = egg:...`` is not followed, as what
it names may not be installed, or not be importable any more.
"""

from __future__ import annotations

import configparser
import os
import re
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

from paste.deploy.loadwsgi import (  # type: ignore[import-untyped]  # it has no type hints
    APP,
    FILTER,
    ConfigLoader,
)
from pyramid.exceptions import ConfigurationError

_NESTING: Final = 10


class Value(NamedTuple):
    """The value of a setting: what it is, and where it is set.

    ``written_as`` is its text in the section that the new settings go to; None if it is elsewhere.
    """

    text: str
    where: str
    written_as: str | None

    def __repr__(self) -> str:
        # It may be a secret.
        return f"<Value ({self.where})>"

    def written(self) -> str:
        """Return the text as an ini file is to have it."""
        return self.text.replace("%", "%%") if self.written_as is None else self.written_as


def read_settings(ini: str) -> dict[str, Value]:
    """Return the settings of a section, ``[app:main]`` if ``ini`` is no ``file.ini#section``.

    With those of the sections and files that it uses, of the filters in its pipeline, and of
    ``[DEFAULT]``. Raises ConfigurationError, without any value in its message.
    """
    path, _, section = ini.partition("#")
    return _read(path, section or "main", 0)


def _read(path: str, name: str, depth: int, pasted: bool = True) -> dict[str, Value]:
    """``pasted``: whether this is the section that the new settings go to."""
    if depth > _NESTING:
        raise ConfigurationError(f"{path}: its sections use each other without end.")
    loader = _load(path)
    section = _find(loader, path, name)
    own = _own(loader, path, section, pasted)
    found: dict[str, Value] = {}
    if "pipeline" in own:
        *filters, application = own["pipeline"].text.split() or ["main"]
        for each in filters:
            found |= _read(path, each, depth + 1, pasted=False)
        return found | _read(path, application, depth + 1, pasted)
    for used in (own[each].text for each in ("use", "next") if each in own):
        if used.startswith("config:"):
            other, _, part = unquote(used[len("config:") :]).partition("#")
            other = os.path.join(os.path.dirname(path), other)
            found |= _read(other, part or "main", depth + 1, pasted=False)
        elif ":" not in used:
            found |= _read(path, used, depth + 1, pasted=False)
    return found | own


def _own(loader: Any, path: str, section: str, pasted: bool) -> dict[str, Value]:
    """Return what the section says by itself, and ``[DEFAULT]``."""
    found = {}
    for option in loader.parser.options(section):
        # PasteDeploy's own: a name for what [DEFAULT] has, and a change to it.
        name = option.removeprefix("get ").strip()
        if option.startswith("set ") or option in ("here", "__file__"):
            continue
        where = f"{os.path.basename(path)}, line {_line(path, section, option)}"
        try:
            text = loader.parser.get(section, option)
            if name != option:
                text = loader.parser.get("DEFAULT", text)
        except (configparser.InterpolationError, configparser.NoOptionError):
            # The error's own text has the value in it.
            raise ConfigurationError(
                f"{where}: the value of {name} cannot be read. A '%' is written '%%', and what "
                "%(name)s names must be in the same section or in [DEFAULT]."
            ) from None
        written = loader.parser.get(section, option, raw=True).strip()
        found[name] = Value(text.strip(), where, written if pasted and name == option else None)
    return found


def _load(path: str) -> Any:
    if not os.path.isfile(path):
        raise ConfigurationError(f"There is no file {path}.")
    try:
        return ConfigLoader(path)
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} is not in the encoding of this terminal.") from None
    except configparser.Error as error:
        # Its own text has the line in it, which may be a secret's.
        errors = getattr(error, "errors", None)
        line = errors[0][0] if errors else getattr(error, "lineno", None)
        raise ConfigurationError(
            f"{path}, line {line}: this is not an ini file ({type(error).__name__})."
        ) from None


def _find(loader: Any, path: str, name: str) -> str:
    for kind in (APP, FILTER):
        try:
            section: str = loader.find_config_section(kind, name)
        except LookupError:
            continue
        if section.startswith("composi"):
            names = [each for each in loader.parser.sections() if each.startswith("app:")]
            raise ConfigurationError(
                f"{path}: [{section}] is made of several applications. Name one of them, as "
                f"{path}#{names[0].removeprefix('app:') if names else 'name'}."
            )
        return section
    raise ConfigurationError(f"{path}: there is no section [app:{name}].")


def _line(path: str, section: str, option: str) -> int:
    """Return the number of the line that sets an option, in its section or in ``[DEFAULT]``."""
    current, found = "", 0
    with open(path) as file:
        for number, line in enumerate(file, 1):
            if header := re.match(r"\[([^]]+)\]", line):
                current = header[1].strip()
            elif current in (section, "DEFAULT") and re.match(re.escape(option) + r"\s*[=:]", line):
                found = number
                if current == section:
                    break
    return found
