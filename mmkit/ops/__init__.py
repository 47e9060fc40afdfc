"""Helpers for several stations: losses, exact arithmetic, rows of all processes."""
