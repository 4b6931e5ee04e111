"""Whoever takes part: the sessions of this package, the floors, and the peers.

A module for each framework or library has functions that make contestants, and imports what it
needs, so that what is not installed is missing alone.
"""
