"""Checks of a recipe and its data, for `mmkit check` and for training."""
