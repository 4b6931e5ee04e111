"""Shared caches for the tests: nginx and Varnish in front of a site, both eager to keep things."""

from __future__ import annotations

import os
import pathlib

from servers import Server, free_port, nginx

NGINX = """
proxy_cache_path {folder}/cache keys_zone=pages:1m;
server {{
    listen 127.0.0.1:{port};
    location / {{
        proxy_pass http://127.0.0.1:{origin};
        proxy_cache pages;
        # What says nothing about caching is kept as well.
        proxy_cache_valid any 60s;
        {careless}
    }}
}}
"""

VARNISH = """
vcl 4.1;
backend default {{ .host = "127.0.0.1"; .port = "{origin}"; }}
{eager}
"""
# As built in, Varnish keeps nothing that was asked for with a cookie. This one only looks at Vary.
EAGER = """
sub vcl_recv {
    if (req.method == "GET") { return (hash); }
}
"""


class Nginx(nginx.Nginx):
    """nginx, which keeps what it may; ``careless``, also what sets cookies (RFC 9111 allows it)."""

    def __init__(self, folder, program, origin, careless):
        port = free_port()
        site = NGINX.format(
            folder=folder,
            port=port,
            origin=origin,
            careless="proxy_ignore_headers Set-Cookie;" if careless else "",
        )
        super().__init__(folder, program, site, port)


class Varnish(Server):
    """Varnish, as it comes or ``eager``."""

    def __init__(self, folder, program, origin, eager):
        super().__init__(folder)
        self._program = program
        text = VARNISH.format(origin=origin, eager=EAGER if eager else "")
        pathlib.Path(self.folder, "vcl").write_text(text)

    def command(self):
        return [
            self._program,
            "-F",
            *("-a", f"127.0.0.1:{self.port}"),
            *("-f", os.path.join(self.folder, "vcl")),
            *("-n", os.path.join(self.folder, "work")),
            *("-s", "malloc,16m"),
            # Without a jail: it would run as a user who cannot get into this directory.
            *("-j", "none"),
        ]
