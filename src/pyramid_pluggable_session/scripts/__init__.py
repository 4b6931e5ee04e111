"""The console script ``psessions``: sessions seen, moved and ended from the command line."""
