"""Trained runs behind an HTTP API, and a page to try them on: `mmkit serve RUN`."""
