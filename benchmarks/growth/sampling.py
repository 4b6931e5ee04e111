"""Latencies of single requests."""

from __future__ import annotations

import statistics
import sys
import time

from .site import WrongAnswerError


def progress(text):
    """Tell whoever waits what is going on."""
    print(f"growth: {time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def timed(application, path, visitor, clock=time.perf_counter):
    """Make a request as a visitor; return the seconds that it took, and the answer."""
    request = application.request(path, visitor.cookies)
    started = clock()
    came = application.run([request])
    seconds = clock() - started
    (answer,) = application.answers(came)
    visitor.take(answer.set_cookies)
    if answer.status != 200:
        raise WrongAnswerError(f"{path}: status {answer.status}")
    return seconds, answer


def quantile(values, share):
    """Return the value that ``share`` of the values are not above."""
    values = sorted(values)
    return values[min(len(values) - 1, int(share * len(values)))]


def summary(latencies):
    """Return the median, the 99th percentile and the greatest of latencies, in microseconds."""
    return {
        "median": statistics.median(latencies) * 1e6,
        "p99": quantile(latencies, 0.99) * 1e6,
        "max": max(latencies) * 1e6,
    }


def shown(microseconds):
    """Return microseconds as text, or milliseconds if there are many."""
    if microseconds < 10_000:
        return f"{microseconds:,.0f}"
    return f"{microseconds / 1000:,.0f} ms"
