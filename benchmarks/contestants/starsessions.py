"""starsessions, on Starlette: called as ASGI, in an event loop."""

from __future__ import annotations

import functools
import secrets

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starsessions import CookieStore, InMemoryStore, SessionMiddleware, load_session

from ..applications import AsgiApplication
from ..scenarios import Contestant
from ..workload import untouched, views_ending_by

_VIEWS = views_ending_by(lambda session: session.clear())


def _application(with_session, *middleware):
    def view_of(work):
        async def view(request):
            if not with_session or work is untouched:
                return PlainTextResponse("untouched")
            await load_session(request)
            return PlainTextResponse(work(request.session))

        return view

    routes = [Route(f"/{name}", view_of(work)) for name, work in _VIEWS.items()]
    return AsgiApplication(Starlette(routes=routes, middleware=middleware))


@functools.cache
def without_session():
    return _application(False)


def _contestant(store, **options):
    application = _application(True, Middleware(SessionMiddleware, store=store))
    return Contestant(application, without_session(), **options)


def memory():
    return _contestant(InMemoryStore())


def cookie():
    return _contestant(CookieStore(secrets.token_hex(32)), client_side=True)


def redis(url):
    from redis.asyncio import Redis
    from starsessions.stores.redis import RedisStore

    return _contestant(RedisStore(connection=Redis.from_url(url)))
