"""Builds what is published, from what is committed, and checks it; ``make dist`` runs this.

The files are in ``dist/`` afterwards if nothing failed. Where there is no package index the files
are built and looked into, and not installed; with REQUIRE_SERVERS=1 that is a failure. With
RELEASE=v1.0.0 it is one, too, if that is not what is built.
"""

import concurrent.futures
import email
import hashlib
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[1]
PACKAGE = "pyramid_pluggable_session"
# Of what is committed, the source leaves out what only the repository and its hosts need.
NOT_IN_SOURCE = re.compile(r"\.(?:ci|github)/|\.readthedocs\.yaml$")
IN_WHEEL = re.compile(rf"{PACKAGE}/(?:\w+/)*(?:\w+\.(?:py|dbtmako)|py\.typed)")
SOMEBODYS_FOLDER = re.compile(rb"/(?:(?:home|Users)/[\w.-]+|root)/")

SHOWN = 20
"""Lines of a failure."""


class Failure(Exception):
    """Something that must not be published."""


def run(*command, **options):
    """Return what a command prints. Raise Failure with it, and what it was, if it fails."""
    try:
        return subprocess.run(
            command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True,
            stdin=subprocess.DEVNULL, timeout=600, **options,
        ).stdout  # fmt: skip
    except subprocess.SubprocessError as error:
        said = (error.output or "").splitlines()[-SHOWN:]
        raise Failure("\n".join([shlex.join(map(str, command)), *said])) from error


def git(*arguments):
    # In a container the checkout may be another user's.
    return run("git", "-c", "safe.directory=*", *arguments, cwd=ROOT)


def pip(*arguments, **options):
    # The tool's own, without a look at whether there is a newer one.
    return run(sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments, **options)


def has_index():
    try:
        pip("--retries", "0", "--timeout", "15", "--no-cache-dir", "index", "versions", "hatchling")
    except Failure:
        return False
    return True


class Table:
    """What was done, how long it took, and what it came to."""

    def __init__(self):
        self.failed = False

    def row(self, name, work, *arguments):
        """Do the work and print a row with what it returns. Return whether it succeeded."""
        began = time.monotonic()
        try:
            word, said = "ok", work(*arguments)
        except Failure as failure:
            word, said = "FAILED", str(failure).strip().replace("\n", "\n    ")
            self.failed = True
        print(f"{word:6} {time.monotonic() - began:5.1f} s  {name:16} {said}", flush=True)
        return word == "ok"


def build(folder, when, *, isolated, umask):
    """Build the source and, from it, the wheel, of what is committed. Return their paths."""
    tree = folder / "tree"
    tree.mkdir(parents=True)
    git("archive", "--output", folder / "tree.tar", "HEAD")
    run("tar", "--extract", "--file", folder / "tree.tar", "--directory", tree, umask=umask)
    run(
        sys.executable, "-m", "build", "--outdir", folder / "dist", tree,
        *([] if isolated else ["--no-isolation"]),
        env={**os.environ, "SOURCE_DATE_EPOCH": when}, umask=umask,
    )  # fmt: skip
    (source,), (wheel,) = (folder / "dist").glob("*.tar.gz"), (folder / "dist").glob("*.whl")
    return source, wheel


def contents(path):
    """Return the files of a source or a wheel, by name."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    with tarfile.open(path) as archive:
        members = [each for each in archive if not each.isdir()]
        odd = [each.name for each in members if not each.isreg() or each.uid or each.uname]
        if odd:
            raise Failure(f"These are no plain files of nobody: {odd}")
        return {each.name.partition("/")[2]: archive.extractfile(each).read() for each in members}


def differences(found, wanted):
    """Return what is wrong with the names of the files, as a list of sentences."""
    return [f"{name} should not be there" for name in sorted(found - wanted)] + [
        f"{name} is missing" for name in sorted(wanted - found)
    ]


def wrong_with_source(files, committed, built_in):
    wanted = {name for name in committed if not NOT_IN_SOURCE.match(name)} | {"PKG-INFO"}
    return differences(set(files), wanted) + with_paths(files, built_in)


def wrong_with_wheel(files, committed, built_in):
    (info,) = {name.partition("/")[0] for name in files if ".dist-info/" in name}
    wanted = {name[len("src/") :] for name in committed if name.startswith(f"src/{PACKAGE}/")}
    wrong = [f"{name} is of no kind for a wheel" for name in wanted if not IN_WHEEL.fullmatch(name)]
    wanted |= {
        f"{info}/{name}"
        for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")
    }
    return wrong + differences(set(files), wanted) + with_paths(files, built_in)


def with_paths(files, built_in):
    """Return which files have a path of the machine that they come from."""
    return [
        f"{name} has a path of somebody's machine"
        for name, data in sorted(files.items())
        if os.fsencode(built_in) in data or SOMEBODYS_FOLDER.search(data)
    ]


def look_into(path, wrong_with, *arguments):
    files = contents(path)
    if wrong := wrong_with(files, *arguments):
        more = [f"and {len(wrong) - SHOWN} more"] if len(wrong) > SHOWN else []
        raise Failure("\n".join([path.name, *wrong[:SHOWN], *more]))
    return f"{path.name}: {len(files)} files, {path.stat().st_size / 1000:.0f} kB"


def same(first, second):
    for one, other in zip(first, second, strict=True):
        if one.read_bytes() != other.read_bytes():
            raise Failure(f"Two builds of {one.name} differ.")
    digests = (hashlib.sha256(path.read_bytes()).hexdigest()[:12] for path in first)
    return "two builds are the same, byte by byte: sha256 " + ", ".join(digests)


def of_this_release(tag, wheel):
    """Check that the tag, the version and the list of changes say the same."""
    version = wheel.name.split("-")[1]
    changes = git("show", "HEAD:CHANGES.md")
    if tag != f"v{version}":
        raise Failure(f"The tag is {tag}, and the version {version}.")
    if not re.search(rf"^## {re.escape(version)} \(\d{{4}}-\d\d-\d\d\)$", changes, re.MULTILINE):
        raise Failure(f"CHANGES.md has no heading '## {version} (year-month-day)'.")
    return f"version {version} and the list of changes agree"


def try_in(folder, wheel, extra, *without):
    """Install the wheel, and perhaps one of its extras, where nothing else is; see if it works."""
    environment = folder / (extra or "bare")
    python = environment / "bin" / "python"
    # By pip from outside: there, it would be something else that is installed.
    run(sys.executable, "-m", "venv", "--without-pip", environment)
    pip("--python", python, "install", "--quiet", f"{wheel}[{extra}]" if extra else wheel)
    pip("--python", python, "check")

    def inside(*command):
        # -I: neither this directory nor PYTHONPATH helps out.
        return run(python, "-I", HERE / "inside.py", *command, cwd=environment).splitlines()[-1]

    said = inside("with", extra) if extra else inside("bare")
    if without:
        if "usage: psessions" not in run(environment / "bin" / "psessions", "--help"):
            raise Failure("psessions --help does not say how it is used.")
        inside("without", *without)
        said += f"; psessions runs; {len(without)} extras are named where they are missing"
    shutil.rmtree(environment)
    return said


def check(folder, table, tag):
    committed = set(git("ls-tree", "-r", "--name-only", "-z", "HEAD").split("\0")) - {""}
    if changed := git("status", "--porcelain").splitlines():
        print(f"Left out is what is not committed: {len(changed)} files, such as {changed[0][3:]}")
    index = has_index()
    when = git("log", "-1", "--format=%ct").strip()
    built = []

    def build_twice():
        for name, umask in (("first", 0o022), ("second", 0o077)):
            built.append(build(folder / name, when, isolated=index, umask=umask))
        return same(*built)

    if not table.row("build", build_twice):
        return None
    source, wheel = built[0]
    table.row("source", look_into, source, wrong_with_source, committed, folder)
    table.row("wheel", look_into, wheel, wrong_with_wheel, committed, folder)
    table.row("twine check", lambda: twine(source, wheel))
    if tag:
        table.row("release", of_this_release, tag, wheel)
    if not index:
        print("There is no package index here: nothing is installed, with or without extras.")
        if os.environ.get("REQUIRE_SERVERS") == "1":
            print("That is a failure, as REQUIRE_SERVERS=1.")
            table.failed = True
        return built[0]
    extras = extras_of(wheel)
    if table.row("without extras", try_in, folder, wheel, "", *extras):
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            tried = [pool.submit(table.row, each, try_in, folder, wheel, each) for each in extras]
        for each in tried:
            each.result()  # raises what is not a Failure
    return built[0]


def twine(*paths):
    run(sys.executable, "-m", "twine", "check", "--strict", *paths)
    return "PyPI would take and show them"


def extras_of(wheel):
    (text,) = (data for name, data in contents(wheel).items() if name.endswith("/METADATA"))
    return email.message_from_bytes(text).get_all("Provides-Extra")


def main():
    table = Table()
    try:
        git("rev-parse", "--verify", "HEAD")
        # An unpacked source may lie in somebody's repository.
        mine = not git("rev-parse", "--show-prefix").strip()
    except (Failure, FileNotFoundError):
        mine = False
    if not mine:
        sys.exit("What is published is built from a git repository, and this is none.")
    with tempfile.TemporaryDirectory(prefix="checked-build-") as folder:
        built = check(pathlib.Path(folder).resolve(), table, os.environ.get("RELEASE"))
        if table.failed:
            sys.exit("Something failed: do not publish this.")
        target = ROOT / "dist"
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        for path in built:
            shutil.copy2(path, target)
    print(f"Nothing failed. What was checked is in {target.name}/.")


if __name__ == "__main__":
    main()
