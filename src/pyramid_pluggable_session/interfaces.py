"""The contracts between the session and its storages.

A *plug* is a storage. It must provide :class:`IPlugSession`; what it can do on top it says by
providing :class:`ISwapPlug`, :class:`IScanPlug` or :class:`IPurgePlug` as well. An ability is asked
for with ``ISwapPlug.providedBy(plug)``, never by trying.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from zope.interface import Attribute, Interface


class Key(Protocol):
    """:class:`ISessionKey` as type checkers see it."""

    @property
    def session_id(self) -> str: ...
    @property
    def expires_at(self) -> float | None: ...


class Plug(Protocol):
    """:class:`IPlugSession` as type checkers see it."""

    def loads(self, session: Any, request: Any) -> bytes | None: ...
    def dumps(self, session: Any, request: Any, session_data: bytes) -> None: ...
    def clear(self, session: Any, request: Any) -> None: ...


class SwapPlug(Plug, Protocol):
    """:class:`ISwapPlug` as type checkers see it."""

    def swap(
        self, session: Any, request: Any, expected: bytes | None, session_data: bytes
    ) -> bool: ...


class ScanPlug(Plug, Protocol):
    """:class:`IScanPlug` as type checkers see it."""

    def scan(self) -> Iterator[Key]: ...


class PurgePlug(Plug, Protocol):
    """:class:`IPurgePlug` as type checkers see it."""

    def purge(self) -> int: ...


# zope.interface methods take no ``self``, have no types, and a docstring for a body.
# mypy: disable-error-code="empty-body, misc, no-untyped-def, no-untyped-call"


class ISessionKey(Interface):
    """All that a plug may read of a session."""

    session_id = Attribute(
        "64 lowercase hexadecimal digits: 256 random bits. Checked before a plug sees it, so it is "
        "safe in a file name or a database key."
    )
    expires_at = Attribute(
        "Epoch seconds (float) after which the record may be forgotten, or None for never. It is "
        "that of what is to be stored: in ``loads`` and ``clear`` it says nothing."
    )


class IPlugSession(Interface):
    """A storage for sessions: all that a plug must do.

    ``session`` is an :class:`ISessionKey`; ``request`` is the current request, or None outside of
    one (a command line). A record is opaque bytes: it is sealed before a plug sees it.

    It drops no record before it expires. It has a hash, and takes weak references.

    Absent is not an error. An outage is: a plug lets its driver's exceptions escape and lists their
    classes in an attribute ``outages`` (a tuple; ``OSError`` is always taken for one); they reach
    the application as :class:`~pyramid_pluggable_session.errors.PlugUnavailable`. If the plug has a
    method ``remedy(error)``, the message ends with what it returns: a few words on what to change,
    or None.

    ``psessions check`` asks two further methods, if the plug has them: ``versions()`` returns the
    versions of server and driver (a dict of texts by name), and ``server_time()`` what time it is
    to the server (epoch seconds), or None. They may raise whatever they like. ``stored()`` returns
    how many records there are, and how many of them have expired (None if that takes long to find
    out), for the progress of commands that read them all.
    """

    def loads(session, request):
        """Return the record (bytes), or None when it is absent or expired."""

    def dumps(session, request, session_data):
        """Store the record until ``session.expires_at``, in place of what is there.

        Who reads meanwhile gets the old one or the new one, whole.
        """

    def clear(session, request):
        """Forget the record. Not an error when there is none."""


class ISwapPlug(IPlugSession):
    """A plug that can compare and swap."""

    def swap(session, request, expected, session_data):
        """Store ``session_data`` only if what is stored is exactly the bytes ``expected``.

        ``expected`` None means: only if nothing is stored, or only an expired record. The
        comparison and the storing are one atomic step for every thread, process and machine that
        shares the storage. Return True if stored, False if not.
        """


class IScanPlug(IPlugSession):
    """A plug that can tell which sessions it holds."""

    def scan():
        """Lazily yield an :class:`ISessionKey` for every record that has not expired.

        Its ``expires_at`` is that of the record. Records that come or go meanwhile may or may not
        be seen; no other one is missed or yielded twice.
        """


class IPurgePlug(IPlugSession):
    """A plug whose expired records somebody has to delete."""

    def purge():
        """Delete the expired records, and what killed writers left; return how many records."""


class IOrigin(Interface):
    """Where sessions of another package are read, to be imported: ``pluggable_session.import``.

    What is registered, in the group of entry points ``pyramid_pluggable_session.origins``, is a
    callable that is given ``config``, the keywords ``allow_pickle`` and ``classes``, and those of
    the options that it declares in an attribute ``options``, as a plug does. The names in the
    annotations below are those of :mod:`pyramid_pluggable_session.origins.sessions`.

    An outage is raised as :class:`~pyramid_pluggable_session.errors.PlugUnavailable`, and what
    cannot or must not be read as ``Refused``. Absent, forged and expired are not errors.
    """

    name = Attribute("A short name, for the log and for ``psessions check``.")

    places = Attribute("Where its cookie is: a sequence of ``Place``.")

    def identify(request):
        """Return the ``OldKey`` of the cookie that a request has; None if none is authentic.

        No storage is asked. It is called for every request that has no session of ours.
        """

    def load(key, request):
        """Return the ``OldSession`` that a key is for, or None when it is absent or expired."""

    def forget(key, request):
        """Delete the session. Not an error when there is none."""


class IClientSidePlug(IPlugSession):
    """A plug that hands its records to the client, as the ``cookie`` plug does.

    Such records are always encrypted, and there is no place where an old one could be withdrawn.
    """
