"""Fuzz the reading of settings: ``python tests/fuzz/fuzz_url.py -max_total_time=600``.

A plug's URL, or the value of a setting, is taken or is a ConfigurationError, whatever it says; and
no message shows the password in a URL. No plug is made: some would make the files that they are
told to.
"""

from __future__ import annotations

import atheris
from fuzzing import instrumented, run
from pyramid.exceptions import ConfigurationError

loader, options, settings = instrumented("loader", "options", "settings")

PASSWORD = "hunter2-of-the-storage"
KNOWN = loader.known_plugs()
SCHEMES = sorted(KNOWN)
FORMS = [
    "{scheme}://:{password}@{rest}",
    "{scheme}://user:{password}@{rest}",
    "{scheme}://{rest}?password={password}",
    "{scheme}://{rest}",
    "{scheme}:{rest}",
    "{scheme}:///{rest}?{rest}",
    "nosuch://user:{password}@{rest}",
]
# What a URL is split by, and what urlsplit itself refuses.
STARTS = ["", "/", "//", "@", ":", "?", "#", "[", "]", "[::1]", "\u2100", "%", "host:no"]
# The others import whatever they are told to.
TABLE = [option for option in options.CORE_OPTIONS if option.name != "on_outage"]


def fuzz_url(data):
    form, scheme = data.PickValueInList(FORMS), data.PickValueInList(SCHEMES)
    rest = data.PickValueInList(STARTS) + data.ConsumeUnicode(300)
    spec = form.format(scheme=scheme, rest=rest, password=PASSWORD)
    shown = [loader.show(spec)]
    try:
        found = loader.find_plug(None, spec)
    except ConfigurationError as error:
        shown.append(str(error))
    else:
        shown += [repr(found), repr(found.shown_options())]
    assert PASSWORD not in "".join(shown), (spec, shown)


def fuzz_option(data):
    option = data.PickValueInList(TABLE)
    given = {"secret": "x" * 32, option.name: data.ConsumeUnicode(300)}
    try:
        values = settings.parse(TABLE, given)
        settings.parse(TABLE, {**given, option.name: values[option.name]})  # as it is, it is right
    except ConfigurationError as error:
        shown = str(error)
    else:
        return
    assert option.name in shown
    value = given[option.name]
    assert not option.secret or len(value) < 8 or value not in shown


def one_input(data):
    provider = atheris.FuzzedDataProvider(data)
    provider.PickValueInList([fuzz_url, fuzz_option])(provider)


if __name__ == "__main__":
    loader.known_plugs = lambda: KNOWN  # to read it anew takes most of the time
    run(one_input)
