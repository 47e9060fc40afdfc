"""Corpora: articles with paragraphs and captioned images, read one at a time."""
