"""Detects the format of a corpus, and opens it."""

from __future__ import annotations

import codecs
from pathlib import Path

from mmkit.errors import DataError, did_you_mean
from mmkit_retrieval.corpora.corpus import Corpus, open_bytes
from mmkit_retrieval.corpora.jsonl_corpus import JsonlCorpus
from mmkit_retrieval.corpora.wikipedia import WikipediaCorpus

FORMATS: dict[str, type[Corpus]] = {"jsonl": JsonlCorpus, "wikipedia": WikipediaCorpus}

_HINT = "a corpus is a JSON-lines file (it begins with {) or a MediaWiki export (<mediawiki>), which may be .gz or .bz2"


def open_corpus(
    path: Path, format: str = "auto", images: Path | None = None, pictures: bool = True
) -> Corpus:
    """The corpus in the file `path`; "auto" detects its format from the first characters.

    `images` is the folder of images (default: the folder of the file). Without `pictures`, articles have no images.
    Raises `DataError` if the file is missing or has another format, and if the folder does not exist.
    """
    if pictures and images is not None and not images.is_dir():
        raise DataError(
            "the folder of images does not exist",
            where=images,
            hint="check --images",
            code="retrieval.no-images-folder",
        )
    kind = _detected(path) if format == "auto" else format
    if kind not in FORMATS:
        raise DataError(
            f"there is no corpus format {format!r}",
            hint=did_you_mean(format, ("auto", *FORMATS)),
            code="retrieval.corpus-format",
        )
    return FORMATS[kind](path, images, pictures)


def _detected(path: Path) -> str:
    try:
        with open_bytes(path) as file:
            start = file.read(4096).removeprefix(codecs.BOM_UTF8).lstrip()
    except OSError as error:
        raise DataError(
            f"the corpus cannot be read: {error}", where=path, code="retrieval.corpus-unreadable"
        ) from error
    if start.startswith(b"{"):
        return "jsonl"
    if start.startswith(b"<"):
        return "wikipedia"
    what = "this is not a corpus" if start else "the corpus is empty"
    raise DataError(what, where=path, hint=_HINT, code="retrieval.corpus-format")
