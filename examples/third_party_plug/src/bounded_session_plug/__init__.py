"""Sessions in the memory of one process, and never more than so many."""

import time
from collections import OrderedDict
from contextlib import suppress

from zope.interface import implementer

from pyramid_pluggable_session.interfaces import IPlugSession
from pyramid_pluggable_session.settings import Option, integer


@implementer(IPlugSession)
class BoundedPlug:
    """Keeps records in memory; when there are too many, those that came first make room."""

    name = "bounded"
    options = (Option("size", integer, 10_000, "How many records to keep."),)

    def __init__(self, config, size):
        self._size, self._records = size, OrderedDict()

    def loads(self, session, request):
        data, expires_at = self._records.get(session.session_id, (None, None))
        return data if expires_at is None or time.time() < expires_at else None

    def dumps(self, session, request, session_data):
        self._records[session.session_id] = session_data, session.expires_at
        with suppress(KeyError):  # another thread may have made room already
            while len(self._records) > self._size:
                self._records.popitem(last=False)

    def clear(self, session, request):
        self._records.pop(session.session_id, None)
