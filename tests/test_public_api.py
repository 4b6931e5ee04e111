"""What users may rely on is listed, documented, and does not change unnoticed.

``python tests/test_public_api.py`` writes ``public_api.txt`` anew, from the code. A line that goes
or changes there is a change that may break what users have written: ``docs/versions.md`` says what
that takes.
"""

from __future__ import annotations

import argparse
import ast
import enum
import inspect
import itertools
import re
import sys
import textwrap
from importlib import import_module
from importlib.metadata import distribution
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ForwardRef

import pytest
from zope.interface import implementedBy
from zope.interface.interface import InterfaceClass

from pyramid_pluggable_session.interfaces import IPlugSession
from pyramid_pluggable_session.options import CORE_OPTIONS
from pyramid_pluggable_session.origins import COMMON_OPTIONS
from pyramid_pluggable_session.scripts import psessions
from pyramid_pluggable_session.settings import REQUIRED, Option
from snippets import snippets

ROOT = Path(__file__).parents[1]
LIST = Path(__file__).with_suffix("").with_name("public_api.txt")
REFERENCE = sorted((ROOT / "docs").glob("api*.md"))
PACKAGE = "pyramid_pluggable_session"
PAGES = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md"))

PUBLIC = {
    # Applications
    "": (
        *import_module(PACKAGE).__all__,
        "__version__",
    ),
    "compat": ("CompatibleSession",),
    "errors": (
        "PlugUnavailable",
        "SessionConflict",
        "SessionError",
        "SessionTooLarge",
        "TooManySessions",
        "UnserializableValue",
    ),
    "events": (
        "DropReason",
        "EndReason",
        "SessionClosed",
        "SessionConflict",
        "SessionCreated",
        "SessionDropped",
        "SessionEnded",
        "SessionEvent",
        "SessionImported",
        "SessionMoved",
        "SessionRejected",
    ),
    "storage": ("Operation",),
    "metrics": ("includeme", "measure"),
    "toolbar": ("includeme",),
    "tweens": ("outage_tween_factory", "refusal_tween_factory"),
    "scripts.pshell": ("setup",),
    "serializers": ("JSONSerializer", "MsgpackSerializer", "PickleSerializer"),
    "testing": import_module(f"{PACKAGE}.testing").__all__,
    "testing.fixtures": ("logged_in", "session_clock"),
    "memory": ("MemorySessionPlug", "includeme"),
    "file": ("FileSessionPlug", "includeme"),
    "chain": ("ChainSessionPlug", "includeme"),
    # Authors of plugs and origins
    "interfaces": (
        "IClientSidePlug",
        "IOrigin",
        "IPlugSession",
        "IPurgePlug",
        "IScanPlug",
        "ISessionKey",
        "ISwapPlug",
        "Key",
        "Plug",
        "PurgePlug",
        "ScanPlug",
        "SwapPlug",
    ),
    "settings": (
        "Option",
        "REQUIRED",
        "boolean",
        "dotted",
        "integer",
        "one_of",
        "or_none",
        "path",
        "positive_integer",
        "positive_seconds",
        "seconds",
        "text",
        "words",
    ),
    "keys": ("SessionKey", "is_session_id"),
    "clock": ("now",),
    "plugs.housekeeping": ("Housekeeping",),
    "plugs.per_process": ("PerProcess",),
    "origins.sessions": ("OldKey", "OldSession", "Place", "Refused"),
}

# Made by the package alone: how is its own affair.
NOT_MADE = {"CompatibleSession", "Session"}
NOT_PUBLIC = {
    "Session.late",
    "Session.visit",
    "Option.shown",
    "Housekeeping.start_over",
    "JSONSerializer.dumps_again",
    "MsgpackSerializer.dumps_again",
    "PickleSerializer.dumps_again",
}
SPECIAL = {"__call__", "__enter__", "__exit__"}


class Name:
    """A public name: where it is, what it is, and what of its inside is public."""

    def __init__(self, module: str, name: str) -> None:
        self.name = ".".join(filter(None, (PACKAGE, module, name)))
        self.short = name
        self.module = import_module(".".join(filter(None, (PACKAGE, module))))
        self.object = getattr(self.module, name)

    def __repr__(self) -> str:
        return self.name

    @property
    def is_interface(self) -> bool:
        return isinstance(self.object, InterfaceClass)

    def classes(self) -> list[type]:
        """Return the class, and those of the package that it inherits from and nobody else sees."""
        public = {id(each.object) for each in public_names()}
        return [
            each
            for each in getattr(self.object, "__mro__", ())
            if each is self.object or (is_ours(each) and id(each) not in public)
        ]

    def bases(self) -> str:
        """Return the names of what a class or interface extends, as far as users can see it."""
        public = {id(each.object): each.name for each in reversed(public_names())}
        names: list[str] = []
        bases = list(self.object.__bases__)
        while bases:
            base = bases.pop(0)
            if id(base) in public:
                names.append(public[id(base)])
            elif is_ours(base):
                bases = [*base.__bases__, *bases]
            elif base is not object:
                names.append(f"{base.__module__}.{base.__name__}".removeprefix("builtins."))
        return f", a {', '.join(names)}" if names else ""

    def members(self) -> dict[str, Any]:
        """Return what is in a class, by name: a value, or the text of an annotation."""
        if self.is_interface:
            return {name: self.object[name] for name in sorted(self.object.names())}
        found: dict[str, Any] = {}
        for each in self.classes():
            inside = vars(each)
            hints = {name: Text(hint) for name, hint in inside.get("__annotations__", {}).items()}
            for name, value in (hints | inside).items():
                if isinstance(value, Text) or name not in hints:
                    found.setdefault(name, value)
                else:
                    found.setdefault(name, hints[name])
        return {
            name: value for name, value in sorted(found.items()) if self._is_public(name, value)
        }

    def _is_public(self, name: str, value: Any) -> bool:
        if name.startswith("_") and name not in SPECIAL:
            return False
        # Tests of the contract come and go: it is what plugs are held against that counts.
        return not name.startswith("test_") and f"{self.short}.{name}" not in NOT_PUBLIC


def is_ours(thing: Any) -> bool:
    return bool(thing.__module__.split(".")[0] == PACKAGE)


class Text(str):
    """An annotation as it is written, which is the same in every Python."""

    __slots__ = ()

    def __new__(cls, hint: Any) -> Text:
        if isinstance(hint, ForwardRef):
            hint = hint.__forward_arg__
        if not isinstance(hint, str):
            hint = inspect.formatannotation(hint)
        return super().__new__(cls, hint)

    def __repr__(self) -> str:
        return str(self)


class Default:
    """A default, whose address would be another one each time."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        if isinstance(self.value, enum.Enum):
            return f"{type(self.value).__name__}.{self.value.name}"
        if inspect.isfunction(self.value):
            return self.value.__qualname__
        return re.sub(r"<object object at \w+>", "...", repr(self.value))


def signature_of(function: Any) -> str:
    found = inspect.signature(function)
    empty = inspect.Parameter.empty
    parameters = [
        each.replace(
            annotation=empty if each.annotation is empty else Text(each.annotation),
            default=empty if each.default is empty else Default(each.default),
        )
        for each in found.parameters.values()
    ]
    returned = found.return_annotation
    return str(
        found.replace(
            parameters=parameters,
            return_annotation=returned if returned is empty else Text(returned),
        )
    )


def public_names() -> list[Name]:
    return [Name(module, name) for module, names in PUBLIC.items() for name in sorted(names)]


def distinct_names() -> list[Name]:
    """Return the public names, without those that are the same thing as one before."""
    distinct: dict[int, Name] = {}
    for each in public_names():
        distinct.setdefault(id(each.object), each)
    return list(distinct.values())


# The list


def lines() -> list[str]:
    return [
        *itertools.chain.from_iterable(map(lines_of, public_names())),
        *lines_of_settings(),
        *lines_of_metadata(),
        *lines_of_metrics(),
        *lines_of_log(),
        *lines_of_commands(),
    ]


def lines_of(public: Name) -> list[str]:
    (first,) = (each for each in distinct_names() if each.object is public.object)
    if first.name != public.name:
        return [f"{public} is {first}"]
    if public.short == "__version__":
        return [str(public)]
    if public.is_interface:
        first_line = f"{public}{public.bases()}"
        return [first_line, *(member_line(public, *each) for each in public.members().items())]
    if isinstance(public.object, type):
        first_line = class_line(public)
        return [first_line, *(member_line(public, *each) for each in public.members().items())]
    if hasattr(public.object, "_fixture_function"):
        return [f"{public}, a fixture"]
    if inspect.isfunction(public.object):
        return [f"{public}{signature_of(public.object)}"]
    return [f"{public} = {Default(public.object)!r}"]


def class_line(public: Name) -> str:
    ours = filter(is_ours, public.object.__mro__)
    made = any({"__init__", "__new__"} & set(vars(each)) for each in ours)
    arguments = ""
    is_protocol = getattr(public.object, "_is_protocol", False)
    if made and public.short not in NOT_MADE and not is_protocol:
        arguments = signature_of(public.object).removesuffix(" -> None")
    return f"{public}{arguments}{public.bases()}"


def member_line(public: Name, name: str, member: Any) -> str:
    where = f"{public}.{name}"
    if hasattr(member, "getSignatureString"):
        return where + member.getSignatureString()
    if public.is_interface:
        return where
    if isinstance(member, property):
        hint = member.fget.__annotations__["return"]
        return f"{where}: {Text(hint)}" + (", can be set" if member.fset else "")
    if isinstance(member, Text):
        return f"{where}: {member}"
    if inspect.isfunction(member):
        return where + signature_of(member)
    return f"{where} = {Default(member)!r}"


def registered(group: str) -> dict[str, Any]:
    entries = distribution(PACKAGE).entry_points
    return {each.name: each for each in entries if each.group == f"{PACKAGE}.{group}"}


def lines_of_settings() -> list[str]:
    plugs = {entry.load() for entry in registered("plugs").values()}
    tables = [
        ("", CORE_OPTIONS),
        ("import.", COMMON_OPTIONS),
        *((f"{plug.name}.", plug.options) for plug in plugs),
    ]
    found = ["setting pluggable_session.plug", "setting pluggable_session.import"]
    for prefix, options in tables:
        found += [f"setting pluggable_session.{prefix}{shown(option)}" for option in options]
    for name, entry in registered("origins").items():
        found += [
            f"setting pluggable_session.import.{shown(option)}, for the origin {name}"
            for option in getattr(entry.load(), "options", ())
        ]
    return sorted(found)


def shown(option: Option) -> str:
    if option.default is REQUIRED:
        return f"{option.name}, which must be set"
    return f"{option.name} = {Default(option.default)!r}"


def lines_of_metadata() -> list[str]:
    found = []
    for name, entry in sorted(registered("plugs").items()):
        abilities = sorted(
            each.__name__
            for each in implementedBy(entry.load()).flattened()
            if each.isOrExtends(IPlugSession)
        )
        found.append(f"plug {name} is {entry.value}, provides {' '.join(abilities)}")
    found += [f"origin {name}" for name in sorted(registered("origins"))]
    extras = distribution(PACKAGE).metadata.get_all("Provides-Extra")
    return [*found, *(f"extra {name}" for name in sorted(extras))]


def lines_of_metrics() -> list[str]:
    made = []

    class Meter:
        def __getattr__(self, create: str) -> Any:
            def note(name: str, *args: Any, **kwargs: Any) -> None:
                kind = create.removeprefix("create_")
                unit = next((each for each in args if isinstance(each, str)), "")
                made.append(f"metric {name}: {kind}, {unit}")

            return note

    pytest.importorskip("opentelemetry.metrics")
    provider = SimpleNamespace(get_meter=lambda *args, **kwargs: Meter())
    config = SimpleNamespace(registry=Meter(), add_subscriber=lambda *args: None)
    import_module(f"{PACKAGE}.metrics").measure(config, provider)
    return sorted(made)


def lines_of_log() -> list[str]:
    """Return the log's lines with fields, of which test_monitoring.py sees that they are all."""
    text = (ROOT / "docs" / "monitoring.md").read_text()
    rows = re.findall(r"(?m)^\| `(\w+)` \| (?:[A-Z]+|that of the lines) \| (.*?) \|", text)
    return [
        f"log session_event={event} {' '.join(re.findall('`(.*?)`', fields))}"
        for event, fields in sorted(rows)
    ]


def lines_of_commands() -> list[str]:
    found = [
        f"psessions exits with {getattr(psessions, name)}: {name}"
        for name in ("OK", "FOUND", "WRONG", "UNAVAILABLE", "INTERRUPTED")
    ]
    parser = psessions.make_parser()
    (commands,) = (each for each in parser._actions if isinstance(each, argparse._SubParsersAction))
    for name, command in sorted(commands.choices.items()):
        names = [
            "|".join(each.option_strings) or str(each.metavar or each.dest).upper()
            for each in command._actions
            if "--help" not in each.option_strings
        ]
        found.append(" ".join(("psessions INI", name, *names)))
    return found


def test_the_list_is_what_the_code_has() -> None:
    there, listed = lines(), LIST.read_text().splitlines()
    gone = [f"- {line}" for line in listed if line not in there]
    new = [f"+ {line}" for line in there if line not in listed]
    assert there == listed, "\n".join(
        (
            "What users may rely on has changed:",
            *gone,
            *new,
            "",
            "A line that goes or changes may break what they have written: docs/versions.md says",
            "what that takes. If it is meant to be, describe it in CHANGES.md, and run",
            "",
            "    python tests/test_public_api.py",
        )
    )


# The reference

DIRECTIVE = re.compile(
    r"(?m)^\.\. auto(?:class|exception|function|data|interface):: ([\w.]+)(\(\))?\n((?: +:.*\n)*)"
)


def directives() -> dict[str, dict[str, str]]:
    """Return what the reference shows of each name, as the options of its directive."""
    found: dict[str, dict[str, str]] = {}
    for name, without_arguments, options in DIRECTIVE.findall(reference()):
        assert name not in found, f"{name} is in the reference twice"
        found[name] = dict(re.findall(r":([\w-]+): *(.*)", options))
        found[name]["arguments"] = "hidden" if without_arguments else "shown"
    return found


def test_every_public_name_is_in_the_reference() -> None:
    documented = {id(resolved(name)) for name in directives()}
    missing = [each for each in distinct_names() if id(each.object) not in documented]
    assert [each.short for each in missing] == ["__version__"]
    assert f"`{missing[0]}`" in reference()


def reference() -> str:
    return "\n".join(path.read_text() for path in REFERENCE)


def test_the_reference_has_nothing_else() -> None:
    assert not set(directives()) - {each.name for each in public_names()}


def resolved(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    return getattr(import_module(module), attribute)


@pytest.mark.parametrize(
    "public", [each for each in distinct_names() if isinstance(each.object, type)], ids=str
)
def test_the_reference_has_what_is_inside_and_nothing_else(public: Name) -> None:
    (shown,) = (each for name, each in directives().items() if resolved(name) is public.object)
    members = set(public.members()) - SPECIAL
    if getattr(public.object, "_is_protocol", False):
        assert "members" not in shown, "what is inside is said of the interface"
    elif "members" not in shown:
        assert shown["arguments"] == "shown" or not members
        assert not members or members <= inspect.signature(public.object).parameters.keys()
    elif shown["members"]:
        assert words(shown["members"]) == members
    else:
        # Sphinx shows what has a docstring.
        documented = {
            name
            for name in vars_and_hints(public.object)
            if name[0] != "_" and docstring_of(public.object, name)
        }
        assert documented - words(shown.get("exclude-members", "")) == members


@pytest.mark.parametrize(
    "public", [each for each in distinct_names() if each.is_interface], ids=str
)
def test_the_reference_has_what_is_in_an_interface(public: Name) -> None:
    (shown,) = (each for name, each in directives().items() if resolved(name) is public.object)
    assert shown["members"] == ""


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text))


def vars_and_hints(cls: type) -> set[str]:
    return {*vars(cls), *vars(cls).get("__annotations__", ())}


@pytest.mark.parametrize("page", ["README.md", *PAGES])
def test_the_documentation_imports_what_is_public(page: str) -> None:
    known = {each.name for each in public_names()}
    known |= {entry.value.replace(":", ".") for entry in registered("plugs").values()}
    for snippet in snippets(ROOT / page, "python"):
        for node in ast.walk(ast.parse(snippet.text)):
            if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == PACKAGE:
                for each in node.names:
                    name = f"{node.module}.{each.name}"
                    assert name in known or any(one.startswith(f"{name}.") for one in known), name


def test_the_table_of_storages_is_whole() -> None:
    rows = dict(re.findall(rf"(?m)^\| (`.*?`) \| `({PACKAGE}\.plugs\.[\w.]+)` \|", reference()))
    expected: dict[str, list[str]] = {}
    for name, entry in registered("plugs").items():
        expected.setdefault(entry.value.replace(":", "."), []).append(name)
    assert {path: sorted(re.findall("`(.*?)`", names)) for names, path in rows.items()} == {
        path: sorted(names) for path, names in expected.items()
    }


# Docstrings


def test_every_public_name_says_what_it_is() -> None:
    silent = []
    for public in distinct_names():
        about = inspect.getdoc(public.object) or docstring_of(public.module, public.short)
        if public.is_interface:
            about = public.object.getDoc()
        if public.short == "__version__":
            continue
        if not about:
            silent.append(public.name)
            continue
        if "as type checkers see it" in about:
            continue  # and the interface says the rest
        for name, member in public.members().items():
            said = member.getDoc() if public.is_interface else None
            said = said or any(docstring_of(each, name) for each in public.classes())
            if not said and f"``{name}``" not in about and name not in SPECIAL:
                silent.append(f"{public}.{name}")
    assert not silent


def docstring_of(owner: Any, name: str) -> str | None:
    """Return what is said of a name in a class or module, below it or in its own docstring."""
    found = vars(owner).get(name)
    if isinstance(found, property) or inspect.isfunction(found):
        return found.__doc__
    tree: Any = ast.parse(textwrap.dedent(inspect.getsource(owner)))
    body = tree.body[0].body if isinstance(owner, type) else tree.body
    for statement, following in itertools.pairwise(body):
        targets = getattr(statement, "targets", [getattr(statement, "target", None)])
        if any(isinstance(each, ast.Name) and each.id == name for each in targets):
            said = following.value if isinstance(following, ast.Expr) else None
            return said.value if isinstance(said, ast.Constant) else None
    return None


if __name__ == "__main__":
    LIST.write_text("".join(f"{line}\n" for line in lines()))
    sys.exit()
