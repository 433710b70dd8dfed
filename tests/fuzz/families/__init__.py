"""One module a family; see tests/fuzz/__init__.py."""
