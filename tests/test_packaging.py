"""What is shipped, and what it takes to import it."""

import os
import pathlib
import re
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import distribution

import pytest
from packaging.requirements import Requirement

from pyramid_pluggable_session import __version__
from pyramid_pluggable_session.loader import known_plugs

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = "pyramid_pluggable_session"


def build(kind, directory):
    code = f"import sys; from hatchling.build import build_{kind}; build_{kind}(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, directory], cwd=ROOT, check=True)
    (path,) = directory.iterdir()
    return path


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return build("wheel", tmp_path_factory.mktemp("wheel"))


def python(code, *path):
    """Run code where nothing can be imported but the standard library and what is on the path."""
    done = subprocess.run(
        # -S: no site-packages, so nothing that happens to be installed here helps out.
        [sys.executable, "-S", "-W", "ignore", "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_the_wheel_has_every_file(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    files = {
        str(path.relative_to(ROOT / "src"))
        for path in (ROOT / "src" / PACKAGE).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert names == files
    assert f"{PACKAGE}/py.typed" in names


def test_the_wheel_says_what_it_is(wheel):
    with zipfile.ZipFile(wheel) as archive:
        info = f"{PACKAGE}-{__version__}.dist-info"
        metadata = archive.read(f"{info}/METADATA").decode()
        assert f"{info}/licenses/LICENSE" in archive.namelist()
    assert f"\nVersion: {__version__}\n" in metadata
    assert "\n# pyramid_pluggable_session\n" in metadata, "the README"


def test_the_index_gets_the_readme_without_links_to_files(wheel):
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read(f"{PACKAGE}-{__version__}.dist-info/METADATA").decode()
    shown = metadata.partition("\n\n")[2]
    readme = (ROOT / "README.md").read_text()
    link = re.compile(r"\[([^\]]+)\]\(([^)\s]+)\)")
    assert any((ROOT / target).is_file() for _, target in link.findall(readme))
    # There is nothing beside the README on the index: such a link would lead nowhere.
    assert all(target.startswith("https://") for _, target in link.findall(shown))
    assert link.sub(r"\1", shown) == link.sub(r"\1", readme)


def test_the_source_has_what_it_takes_to_build_and_test(tmp_path):
    with tarfile.open(build("sdist", tmp_path)) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "hatch_build.py", "README.md", "CHANGES.md", "LICENSE"} <= names
    assert {"Makefile", "noxfile.py", "CONTRIBUTING.md", "RELEASING.md"} <= names
    assert {f"src/{PACKAGE}/py.typed", "tests/test_packaging.py", "docs/conf.py"} <= names
    assert not [name for name in names if "__pycache__" in name or name.startswith("docs/_build")]
    # hatchling adds this one, so that what is made in an unpacked source stays out of a wheel.
    assert {name for name in names if name.startswith(".")} <= {".gitignore"}


@pytest.mark.parametrize("name", sorted(known_plugs()))
def test_the_entry_points_lead_to_plugs(name):
    entry = known_plugs()[name]
    plug = entry.load()
    # Schemes such as rediss lead to a plug that has its name from another one.
    assert known_plugs()[plug.name].value == entry.value
    assert plug.name == entry.module.rpartition(".")[2]


def needed_without_extras(name=PACKAGE, seen=None):
    """Return the names of what pip installs for the package alone."""
    seen = set() if seen is None else seen
    found = distribution(name)
    seen.add(found.metadata["Name"])
    for line in found.requires or ():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            needed = distribution(requirement.name).metadata["Name"]
            if needed not in seen:
                needed_without_extras(needed, seen)
    return seen


@pytest.fixture(scope="module")
def bare(wheel, tmp_path_factory):
    """Return a directory with the package and what it depends on, and no more."""
    site = tmp_path_factory.mktemp("bare")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    for name in needed_without_extras() - {PACKAGE}:
        found = distribution(name)
        for file in found.files:
            source = pathlib.Path(found.locate_file(file))
            target = site / file
            if ".." in file.parts or not source.is_file() or target.exists():
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(source)
    return site


def test_it_works_without_extras(bare):
    code = """
from pyramid.config import Configurator
with Configurator(settings={"pluggable_session.secret": "a secret" * 5}) as config:
    config.include("pyramid_pluggable_session")
    config.set_session_plug("memory")
    config.make_wsgi_app()
import pyramid_pluggable_session
print(pyramid_pluggable_session.__file__)
"""
    assert python(code, bare) == [str(bare / PACKAGE / "__init__.py")]


def test_the_core_imports_no_driver(bare):
    code = """
import sys
import pyramid.config, pyramid.authentication, ormsgpack, importlib.metadata
before = set(sys.modules)
import pyramid_pluggable_session
print(*(set(sys.modules) - before))
"""
    names = python(code, bare)
    assert not [name for name in names if name.startswith(f"{PACKAGE}.plugs")]
    new = {name.partition(".")[0] for name in names} - {PACKAGE, "pyramid", "zope"}
    assert new <= set(sys.stdlib_module_names), "the core needs Pyramid and ormsgpack alone"
    assert not new & {"sqlite3", "dbm", "socket", "asyncio", "ctypes"}
