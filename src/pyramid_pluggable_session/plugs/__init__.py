"""The storages that come with the package, a module for each.

Nothing is imported here: a storage's module, and with it its driver, is loaded when it is named.
"""
