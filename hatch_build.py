"""What the build adds to pyproject.toml: the README as PyPI shows it.

There, a link to a file of the repository leads nowhere. Its text stays, which names the file.
"""

from __future__ import annotations

import pathlib
import re
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_LINK_TO_A_FILE = re.compile(r"(?<!!)\[([^\]]+)\]\((?![a-z]+:|#)[^)\s]+\)")


class ReadmeHook(MetadataHookInterface):
    """Fills in ``project.readme``."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add the README, without links to files."""
        text = pathlib.Path(self.root, "README.md").read_text(encoding="utf-8")
        text = _LINK_TO_A_FILE.sub(r"\1", text)
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
