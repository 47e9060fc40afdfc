"""Corpora: articles with paragraphs and captioned images, read one by one."""
