"""Sessions for Pyramid: ours, the floors, and the peers but for Beaker."""

from __future__ import annotations

import functools
import secrets

from ..applications import WsgiApplication
from ..scenarios import Contestant
from ..workload import pyramid_application


@functools.cache
def without_session():
    return WsgiApplication(pyramid_application())


def with_factory(factory, **options):
    application = pyramid_application(factory)
    return Contestant(WsgiApplication(application), without_session(), **options)


def ours(plug, settings=None, **options):
    """Return our sessions on a storage; ``settings`` are named without ``pluggable_session.``.

    The cookie ends with the browser, as the floor's and that of most peers: by default it has an
    age, and is sent again with each write.
    """
    given = {
        "secret": secrets.token_hex(32),
        "plug": plug,
        "max_age": "none",
        **(settings or {}),
    }
    application = pyramid_application(
        include=lambda config: config.include("pyramid_pluggable_session"),
        settings={f"pluggable_session.{name}": value for name, value in given.items()},
    )
    return Contestant(WsgiApplication(application), without_session(), **options)


def ours_in_region(backend, **arguments):
    """Return our sessions in a region of dogpile.cache."""
    from dogpile.cache import make_region

    region = make_region().configure(f"dogpile.cache.{backend}", arguments=arguments)
    return ours("dogpile", {"dogpile.region": lambda config: region})


def floor(name, *arguments, client_side=False, **options):
    """Return the floor of a storage; its ``calls`` are what it does there."""
    from .. import floors

    factory = getattr(floors, name)(*arguments, **options)
    contestant = with_factory(factory, client_side=client_side)
    contestant.calls = getattr(factory, "calls", None)
    return contestant


def signed_cookie():
    from pyramid.session import SignedCookieSessionFactory

    return with_factory(SignedCookieSessionFactory(secrets.token_hex(32)), client_side=True)


def session_redis(url, **options):
    from pyramid_session_redis import RedisSessionFactory

    return with_factory(RedisSessionFactory(secret=secrets.token_hex(32), redis_url=url, **options))


def session_redis_tuned(url):
    """Return pyramid_session_redis with a faster serializer and rarer renewals of the expiry.

    Its option ``set_redis_ttl_readheavy`` ends in an error with redis-py of today.
    """
    import msgspec

    return session_redis(
        url,
        timeout_trigger=600,
        serialize=msgspec.msgpack.encode,
        deserialize=msgspec.msgpack.decode,
    )


def session_redis_lru(url):
    """Return pyramid_session_redis without any expiry: the server forgets what is long unused."""
    import msgspec

    return session_redis(
        url,
        timeout=None,
        set_redis_ttl=False,
        python_expires=False,
        serialize=msgspec.msgpack.encode,
        deserialize=msgspec.msgpack.decode,
    )
