"""The notes that hold an example's retrieved contexts."""

from __future__ import annotations

TEXT_CONTEXT = "more.text_context"
"""Note key: the results of text retrieval, joined to one string."""

IMAGE_CONTEXT = "more.image_context"
"""Note key: the same of image retrieval."""
