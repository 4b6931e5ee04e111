"""What the tests of the storages on disk share."""

import multiprocessing
import os
import random
import resource
import shutil
import signal
import tempfile
import time
import traceback
import warnings

import pytest

from pyramid_pluggable_session.testing import session_key

NOBODY = 65534


@pytest.fixture
def umask():
    """Return a function that sets the umask for the rest of the test."""
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


@pytest.fixture
def in_child():
    """Return a function that calls another one in a forked process and returns its result."""

    def run(function):
        context = multiprocessing.get_context("fork")
        ours, theirs = context.Pipe()

        def work():
            try:
                theirs.send((True, function()))
            except BaseException:
                theirs.send((False, traceback.format_exc()))

        child = context.Process(target=work)
        _start(child)
        theirs.close()
        try:
            assert ours.poll(60), "the child hangs"
            done, result = ours.recv()
        finally:
            ours.close()
            child.kill()
            child.join()
            child.close()
        assert done, result
        return result

    return run


@pytest.fixture
def as_nobody(in_child):
    """Return a function that calls another one as a user without rights."""

    def run(function):
        def work():
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            return function()

        return in_child(work) if os.geteuid() == 0 else function()

    return run


@pytest.fixture
def open_folder():
    """Give a directory that every user can reach; pytest's own can be reached by its user only."""
    path = tempfile.mkdtemp()
    os.chmod(path, 0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def with_file_size_limit(in_child):
    """Return a function that calls another one where no file can grow beyond ``size`` bytes.

    It stands for a full disk: writing fails in the middle. The function gets another that lifts
    the limit.
    """

    def run(size, function):
        def work():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
            return function(lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most)))

        return in_child(work)

    return run


@pytest.fixture
def without_descriptors(in_child):
    """Return a function that calls another one in a process that cannot open any more files."""

    def run(function):
        def work():
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
            taken = []
            try:
                while True:
                    taken.append(os.open(os.devnull, os.O_RDONLY))
            except OSError:
                return function()

        return in_child(work)

    return run


def record(number):
    """Return a record that shows whether it is whole, of a size that differs from the last one."""
    return b"%d:" % number + (b"%d" % (number % 10)) * (number * 977 % 9000)


@pytest.fixture
def check_killed_writers():
    """Return a function that kills a writer again and again, and looks at what it leaves."""

    def check(make_plug, times=20):
        writer, bystanders = session_key(600), [session_key(600) for _ in range(5)]
        plug = make_plug()
        for key in bystanders:
            plug.dumps(key, None, b"bystander" * 100)
        number = 1
        plug.dumps(writer, None, record(number))
        for _ in range(times):
            acknowledged = _write_until_killed(make_plug, writer, number)
            found = plug.loads(writer, None)
            assert found is not None, "the record is lost"
            number = int(found.partition(b":")[0])
            assert found == record(number), "half a record"
            assert number >= acknowledged, "an acknowledged record is lost"
            for key in bystanders:
                assert plug.loads(key, None) == b"bystander" * 100
        assert number > times, "the writers did not write"
        plug.dumps(writer, None, b"goes on")
        assert plug.loads(writer, None) == b"goes on"
        return plug

    return check


def _write_until_killed(make_plug, key, number):
    """Return the number of the last record that the writer was told is stored."""
    reading, writing = os.pipe()
    context = multiprocessing.get_context("fork")

    def work():
        plug, coming_and_going = make_plug(), session_key()
        for next_number in range(number + 1, number + 1_000_000):
            plug.dumps(key, None, record(next_number))
            os.write(writing, next_number.to_bytes(8, "big"))
            plug.dumps(coming_and_going, None, b"other")
            plug.clear(coming_and_going, None)

    child = context.Process(target=work)
    _start(child)
    os.close(writing)
    with open(reading, "rb") as pipe:
        pipe.read(8)
        time.sleep(random.uniform(0, 0.015))
        child.kill()
        child.join()
        child.close()
        numbers = pipe.read()
    # A pipe takes 8 bytes whole or not at all.
    return int.from_bytes(numbers[-8:], "big") if numbers else number + 1


def _start(process):
    with warnings.catch_warnings():
        # From Python 3.12 on, a fork beside running threads is warned of.
        warnings.simplefilter("ignore", DeprecationWarning)
        process.start()
