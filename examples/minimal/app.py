"""The smallest application with a session: it counts visits."""

from pyramid.config import Configurator
from pyramid.response import Response


def hello(request):
    visits = request.session["visits"] = request.session.get("visits", 0) + 1
    return Response(f"Visit number {visits}\n", content_type="text/plain")


def main(global_config, **settings):
    with Configurator(settings=settings) as config:
        config.include("pyramid_pluggable_session")
        config.add_route("hello", "/")
        config.add_view(hello, route_name="hello")
        return config.make_wsgi_app()
