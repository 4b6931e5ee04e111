"""Compare and swap as a script, for servers that do not have it as a command."""

from __future__ import annotations

import hashlib
from typing import Final

# Arguments: what is expected, the record, milliseconds that it lives: "" for ever, "0" not at all.
SWAP: Final = """\
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[3] == '' then redis.call('SET', KEYS[1], ARGV[2])
elseif ARGV[3] == '0' then redis.call('DEL', KEYS[1])
else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
return 1
"""

# The server's name for the script.
SWAP_DIGEST: Final = hashlib.sha1(SWAP.encode(), usedforsecurity=False).hexdigest()
