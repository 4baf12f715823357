"""Ours: a dependency installs a top-level package of this name too."""
