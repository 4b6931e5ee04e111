"""The commands of psessions, a module each. A module is named as its command, with a "_"."""
