"""The text index: paragraphs, searched by words."""
