"""Articles of Wikipedia, or of any wiki that runs MediaWiki, from its XML export."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from mmkit.files.time_limit import OutOfTime, can_limit, time_limit
from mmkit_retrieval.corpora.article import Article, CaptionedImage
from mmkit_retrieval.corpora.corpus import Corpus
from mmkit_retrieval.corpora.media_files import find_file
from mmkit_retrieval.corpora.mediawiki_xml import Dump, Page, Site
from mmkit_retrieval.corpora.workers import in_order

_BATCH = 250_000
"""How many characters of wikitext a worker process gets at a time."""
_SMALL = 2_000_000
"""For a file smaller than this (bytes), starting processes takes longer than parsing."""
_MOST = 16
SECONDS = 10
"""The most seconds of processor time for parsing one article. The longest articles of Wikipedia need two."""


class Batch(NamedTuple):
    """Work for one process: some pages of a site, and the folder of its images."""

    site: Site
    images: str | None
    pages: list[Page]


class WikipediaCorpus(Corpus):
    """Reads the articles of `pages-articles*.xml` (also `.bz2` and `.gz`), without redirects and other pages.

    Images are named by `[[File:...|caption]]`, galleries and infoboxes. Their files are searched under `images` by
    MediaWiki's rules (`find_file`); missing ones are counted. `workers` is the number of processes that parse (default:
    one less than there are processors, and none for a small file). An article that takes more than `SECONDS` to parse
    is skipped and counted.
    """

    def __init__(
        self, path: Path, images: Path | None = None, pictures: bool = True, workers: int | None = None
    ) -> None:
        super().__init__(path, images, pictures)
        self.workers = workers

    def __iter__(self) -> Iterator[Article]:
        self.repairs.clear()
        dump = Dump(self.path, self.repairs)
        pages = dump.pages(self.opened())
        batches = (Batch(dump.site, self.images, some) for some in _batches(pages))
        for articles, counts in in_order(parse_batch, batches, self._processes(), str(self.path)):
            self.repairs.update(counts)
            yield from articles

    def _processes(self) -> int:
        processes = self.workers
        if processes is None:
            processes = 0 if self.size < _SMALL else min(_MOST, (os.cpu_count() or 1) - 1)
        # where this process cannot limit the time, another one can
        return processes if can_limit() else max(1, processes)


def parse_batch(batch: Batch) -> tuple[list[Article], Counter[str]]:
    """The articles of the pages, and counts of what was skipped."""
    counts: Counter[str] = Counter()
    articles = [_article(page, batch, counts) for page in batch.pages]
    return [article for article in articles if article is not None], counts


def _article(page: Page, batch: Batch, counts: Counter[str]) -> Article | None:
    from mwparserfromhell.parser import ParserError

    from mmkit_retrieval.corpora.wikitext import read_wikitext

    try:
        with time_limit(SECONDS):
            content = read_wikitext(page.wikitext, batch.site)
    except OutOfTime:
        counts[f"article that takes more than {SECONDS} seconds to parse skipped"] += 1
        return None
    except (ParserError, RecursionError):
        counts["article that could not be parsed skipped"] += 1
        return None
    pictures = _pictures(content.pictures, batch, counts) if batch.images is not None else {}
    if not content.paragraphs and not pictures:
        counts["article without paragraphs and images skipped"] += 1
        return None
    images = tuple(CaptionedImage(path, caption) for path, caption in pictures.items())
    return Article(page.id, page.title, tuple(content.paragraphs), tuple(content.links), images)


def _pictures(named: dict[str, str], batch: Batch, counts: Counter[str]) -> dict[str, str]:
    """Path → caption of the images that exist."""
    assert batch.images is not None
    found: dict[str, str] = {}
    for name, caption in named.items():
        path = find_file(batch.images, name, batch.site.capitals)
        if path is None:
            counts["image that does not exist left out"] += 1
        else:
            found[path] = found.get(path) or caption
    return found


def _batches(pages: Iterable[Page]) -> Iterator[list[Page]]:
    batch: list[Page] = []
    length = 0
    for page in pages:
        batch.append(page)
        length += len(page.wikitext)
        if length >= _BATCH:
            yield batch
            batch, length = [], 0
    if batch:
        yield batch
