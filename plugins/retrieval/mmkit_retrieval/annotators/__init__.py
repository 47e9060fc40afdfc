"""Annotators: what was retrieved becomes the context of an example."""
