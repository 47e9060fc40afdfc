"""Packages to start from: what `mmkit new-plugin` writes."""
