"""`more.text_retrieval.v1` and `more.image_retrieval.v1`: retrieval under MoRe's names, with MoRe's notes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmkit.data.types import Example
from mmkit_more.contexts import IMAGE_CONTEXT, TEXT_CONTEXT
from mmkit_retrieval.annotators import image_retrieval, text_retrieval


class TextRetrieval(text_retrieval.TextRetrieval):
    """Retrieves paragraphs like `retrieval.text.v1`, with the same settings, and notes them under `more.text_context`.

    Results are stored under this name, so those of earlier versions are found.
    """

    part = "more.text_retrieval.v1"
    note = TEXT_CONTEXT

    @classmethod
    def write_sample_corpus(cls, folder: Path, seed: int, examples: Sequence[Example]) -> Path:
        from mmkit_more.sample import write_corpus

        return write_corpus(folder, seed)


class ImageRetrieval(image_retrieval.ImageRetrieval):
    """Retrieves images like `retrieval.pictures.v1`, with the same settings, and notes them under `more.image_context`.

    Results are stored under this name, so those of earlier versions are found.
    """

    part = "more.image_retrieval.v1"
    note = IMAGE_CONTEXT

    @classmethod
    def write_sample_corpus(cls, folder: Path, seed: int, examples: Sequence[Example]) -> Path:
        from mmkit_more.sample import write_corpus

        return write_corpus(folder, seed)
