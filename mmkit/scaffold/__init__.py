"""Packages to start from, written by `mmkit new-plugin`."""
