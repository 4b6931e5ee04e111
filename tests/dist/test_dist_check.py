"""The check of what is published finds what it is there for; ``make dist`` runs it."""

import io
import tarfile
from importlib.metadata import metadata

import check
import inside
import pytest

PACKAGE = check.PACKAGE
INFO = f"{PACKAGE}-1.0.dist-info"
COMMITTED = {
    ".ci/run",
    ".github/workflows/ci.yml",
    "README.md",
    f"src/{PACKAGE}/__init__.py",
    f"src/{PACKAGE}/plugs/redis/__init__.py",
    f"src/{PACKAGE}/py.typed",
    "tests/test_x.py",
}
WHEEL = {
    f"{PACKAGE}/__init__.py",
    f"{PACKAGE}/plugs/redis/__init__.py",
    f"{PACKAGE}/py.typed",
    *(f"{INFO}/{name}" for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt")),
    f"{INFO}/licenses/LICENSE",
}
SOURCE = {name for name in COMMITTED if not name.startswith(".")} | {"PKG-INFO"}


def files(names, data=b"plain"):
    return dict.fromkeys(names, data)


def test_what_is_right_passes():
    assert check.wrong_with_wheel(files(WHEEL), COMMITTED, "/build-1") == []
    assert check.wrong_with_source(files(SOURCE), COMMITTED, "/build-1") == []


@pytest.mark.parametrize(
    "name",
    [
        "tests/test_x.py",
        "README.md",
        ".gitignore",
        f"{PACKAGE}/__pycache__/x.cpython-311.pyc",
        f"{PACKAGE}/left_over.py",
        f"{INFO}/top_level.txt",
    ],
)
def test_a_wheel_has_nothing_else(name):
    wrong = check.wrong_with_wheel(files(WHEEL | {name}), COMMITTED, "/build-1")
    assert wrong == [f"{name} should not be there"]


@pytest.mark.parametrize("name", ["_fast.so", ".hidden.py", "plugs/.env", "notes.md", "x.pyc"])
def test_what_is_committed_by_mistake_is_found(name):
    wheel, committed = f"{PACKAGE}/{name}", f"src/{PACKAGE}/{name}"
    wrong = check.wrong_with_wheel(files(WHEEL | {wheel}), COMMITTED | {committed}, "/build-1")
    assert wrong == [f"{wheel} is of no kind for a wheel"]


def test_what_is_missing_is_found():
    typed = f"{PACKAGE}/py.typed"
    wrong = check.wrong_with_wheel(files(WHEEL - {typed}), COMMITTED, "/build-1")
    assert wrong == [f"{typed} is missing"]
    wrong = check.wrong_with_source(files(SOURCE - {"tests/test_x.py"}), COMMITTED, "/build-1")
    assert wrong == ["tests/test_x.py is missing"]


@pytest.mark.parametrize("name", [".ci/run", ".github/workflows/ci.yml", "docs/_build/index.html"])
def test_the_source_is_what_is_committed(name):
    wrong = check.wrong_with_source(files(SOURCE | {name}), COMMITTED, "/build-1")
    assert wrong == [f"{name} should not be there"]


@pytest.mark.parametrize("folder", ["build-1/tree", "home/ada", "Users/ada", "root"])
def test_a_path_of_a_machine_is_found(folder):
    data = f"made in /{folder}/x.py".encode()
    for wrong_with, names in ((check.wrong_with_wheel, WHEEL), (check.wrong_with_source, SOURCE)):
        name = next(name for name in sorted(names) if name.endswith(".py"))
        wrong = wrong_with(files(names) | {name: data}, COMMITTED, "/build-1")
        assert wrong == [f"{name} has a path of somebody's machine"]


@pytest.mark.parametrize("change", [{"uid": 1000}, {"uname": "ada"}, {"type": tarfile.SYMTYPE}])
def test_a_source_is_of_plain_files_of_nobody(tmp_path, change):
    path = tmp_path / "x.tar.gz"
    member = tarfile.TarInfo("x-1.0/README.md")
    member.size = 5
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(member, io.BytesIO(b"plain"))
    assert check.contents(path) == {"README.md": b"plain"}
    for name, value in change.items():
        setattr(member, name, value)
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(member, io.BytesIO(b"plain"))
    with pytest.raises(check.Failure, match="no plain files"):
        check.contents(path)


def test_builds_that_differ_are_found(tmp_path):
    one, other = tmp_path / "1.whl", tmp_path / "2.whl"
    one.write_bytes(b"the same")
    other.write_bytes(b"the same")
    assert "byte by byte" in check.same([one], [other])
    other.write_bytes(b"the sane")
    with pytest.raises(check.Failure, match="differ"):
        check.same([one], [other])


@pytest.mark.parametrize(
    ("release", "changes", "why"),
    [
        ("v1.0", "# Changes\n\n## 1.0 (2031-02-28)\n", None),
        ("v1.1", "# Changes\n\n## 1.0 (2031-02-28)\n", "the version 1.0"),
        ("1.0", "# Changes\n\n## 1.0 (2031-02-28)\n", "the version 1.0"),
        ("v1.0", "# Changes\n\n## 1.0 (unreleased)\n", "no heading"),
        ("v1.0", "# Changes\n\n## 1.0.1 (2031-02-28)\n", "no heading"),
    ],
)
def test_a_release_is_what_its_tag_says(tmp_path, monkeypatch, release, changes, why):
    monkeypatch.setattr(check, "git", lambda *arguments: changes)
    wheel = tmp_path / f"{PACKAGE}-1.0-py3-none-any.whl"
    if why is None:
        assert "agree" in check.of_this_release(release, wheel)
    else:
        with pytest.raises(check.Failure, match=why):
            check.of_this_release(release, wheel)


def test_a_failure_is_a_row_and_is_not_forgotten(capsys):
    def fails():
        raise check.Failure("first line\nsecond line")

    table = check.Table()
    assert table.row("fine", lambda: "as it should be")
    assert not table.failed
    assert not table.row("not fine", fails)
    assert table.row("fine again", lambda: "yes")
    assert table.failed
    rows = capsys.readouterr().out.splitlines()
    assert rows[0].startswith("ok ")
    assert rows[1].startswith("FAILED ")
    assert rows[2] == "    second line"


def test_a_command_that_fails_tells_what_it_said():
    with pytest.raises(check.Failure, match="because of that"):
        check.run("sh", "-c", "echo because of that >&2; exit 3")


def test_every_extra_has_a_check():
    extras = set(metadata(PACKAGE).get_all("Provides-Extra"))
    assert set(inside.PLUGS) | set(inside.SETTINGS) | {"psessions"} == extras
