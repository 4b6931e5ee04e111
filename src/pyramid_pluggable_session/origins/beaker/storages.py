"""Where Beaker stores sessions: one entry named ``session`` for each session id.

The value of the entry is the wrapped data of :mod:`.cookies`, a text.

==================  ==================================================================  ===========
``session.type``    where                                                               what
==================  ==================================================================  ===========
file                ``file_dir``, or ``container_file`` in ``data_dir``:                a pickle of
                    ``<i>/<id>/<id>.cache``, in folders of its first and its first two  a dict with
                    digits                                                              the entry
dbm                 ``dbm_dir``, or ``container_dbm`` in ``data_dir``: as above, a      a pickle of
                    database ``<id>.dbm`` with the key ``session``                      the value
ext:redis           key ``beaker_cache:<id>:session``                                   the same
ext:rediscluster    the same                                                            the same
ext:mongodb         collection ``backer_cache`` (so it is spelt) of the URL's database  the same
                    ``_id`` is ``<id>:session``, the field ``value``
ext:database        table ``beaker_cache``: column ``namespace`` is the id, ``data``    a pickle of
ext:sqla            the same, in a table and by an engine of the application            a dict
ext:memcached       key ``<id>_session``                                                the value
==================  ==================================================================  ===========

These pickles are read by what takes nothing but texts in lists and dicts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from ..redis_storage import RedisStorage, from_url
from .databases import DatabaseStorage, MongodbStorage
from .disk import DbmStorage, FileStorage
from .entries import ENTRY, Old, needed
from .memcached import MemcachedStorage


class BeakersRedis(RedisStorage):
    """Redis, with what all of Beaker's storages have."""

    unpack = Old.unpack


def _redis(given: Mapping[str, Any]) -> BeakersRedis:
    url = given.get("url")
    own = hasattr(url, "get")
    make = (lambda *_: url) if own else from_url(needed(given, "url"))
    return BeakersRedis("Beaker", make, _REDIS_KEY)


def _redis_cluster(given: Mapping[str, Any]) -> BeakersRedis:
    urls = given.get("urls")
    if hasattr(urls, "get"):
        return BeakersRedis("Beaker", lambda *_: urls, _REDIS_KEY)
    first = needed(given, "urls").split(",")[0]
    login = {name: given[name] for name in ("username", "password") if given.get(name)}
    return BeakersRedis(
        "Beaker",
        # It finds the other nodes by itself.
        lambda redis, timeouts: redis.RedisCluster.from_url(first, **login, **timeouts),
        _REDIS_KEY,
    )


_REDIS_KEY: Final = f"beaker_cache:{{}}:{ENTRY}"


STORAGES: Final[Mapping[str, Callable[[Mapping[str, Any]], Any]]] = {
    "file": FileStorage,
    "dbm": DbmStorage,
    "ext:redis": _redis,
    "ext:rediscluster": _redis_cluster,
    "ext:memcached": MemcachedStorage,
    "ext:database": DatabaseStorage,
    "ext:sqla": DatabaseStorage,
    "ext:mongodb": MongodbStorage,
}
"""What makes the storage of each ``session.type`` from Beaker's settings."""
