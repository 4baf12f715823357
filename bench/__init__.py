"""``python -m bench``: this controller beside its peers and limits, measured in one run."""
