"""nginx with the configuration of a site."""

from __future__ import annotations

import os
import pathlib

from servers import Server

# What the configuration of a distribution has around that of a site.
_AROUND = """
master_process off;
daemon off;
pid {folder}/pid;
error_log {folder}/errors;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/temp;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {site}
}}
"""


class Nginx(Server):
    """nginx with ``site``, which says to listen on ``port``; it needs no rights of root."""

    def __init__(self, folder, program, site, port):
        super().__init__(folder)
        self.port = port
        self._program = program
        os.makedirs(self.folder, exist_ok=True)
        text = _AROUND.format(folder=self.folder, site=site)
        pathlib.Path(self.folder, "conf").write_text(text)

    def command(self):
        conf = os.path.join(self.folder, "conf")
        return [self._program, "-p", self.folder, "-c", conf, "-e", self.folder + "/errors"]
