"""Paragraphs in a full-text index on disk."""
