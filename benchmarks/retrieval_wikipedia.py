"""Reading a MediaWiki dump: wikitext a second, and memory, which must not grow with the dump.

    python benchmarks/retrieval_wikipedia.py [--megabytes 10 40]

Articles are drawn: an infobox, paragraphs with links, footnotes and a picture each, a table, a list. The dump is packed
by bzip2. Each size is read in a process of its own with one more process that parses, as `mmkit retrieval
build-index` does on two cores. "cpu seconds" are those of both; memory is the highest resident of each. Results are
printed and written to `benchmarks/results/retrieval_wikipedia.json`.
"""

from __future__ import annotations

import argparse
import bz2
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any

from mmkit_retrieval.corpora.wikipedia import WikipediaCorpus

HEAD = "<mediawiki><siteinfo><case>first-letter</case></siteinfo>\n"
PAGE = (
    "<page><title>Title {0}</title><ns>0</ns><id>{0}</id>"
    '<revision><text xml:space="preserve">{1}</text></revision></page>\n'
)


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--megabytes", type=int, nargs="+", default=[10, 40])
    options.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    arguments = options.parse_args()
    if arguments.read:
        print(json.dumps(read(arguments.read)))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for megabytes in arguments.megabytes:
            path = Path(folder) / "dump.xml.bz2"
            unpacked = write(path, megabytes * 2**20) / 2**20
            command = [sys.executable, __file__, "--read", str(path)]
            row = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            rate = {"unpacked MB": unpacked, "MB a cpu second": unpacked / row["cpu seconds"]}
            rows.append({**rate, "packed MB": path.stat().st_size / 2**20, **row})
    from common import (
        report,
    )  # not sooner: it imports torch, and a process's peak counts from where it was forked

    report("retrieval_wikipedia", rows)


def read(path: Path) -> dict[str, Any]:
    """Read all of a dump."""
    start = time.perf_counter()
    articles = paragraphs = 0
    for article in WikipediaCorpus(path, pictures=False, workers=1):
        articles += 1
        paragraphs += len(article.paragraphs)
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    peaks = dict(
        zip(("peak MB, reading", "peak MB, parsing"), (u.ru_maxrss / 1024 for u in usage), strict=True)
    )
    return {
        "articles": articles,
        "paragraphs": paragraphs,
        "seconds": time.perf_counter() - start,
        "cpu seconds": sum(u.ru_utime + u.ru_stime for u in usage),
        **peaks,
    }


def write(path: Path, size: int) -> int:
    """Write a dump of about `size` bytes, packed; return how many they are."""
    rng, done = Random(1), 0
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 10))) for _ in range(20_000)]
    with bz2.open(path, "wb", compresslevel=1) as file:
        done += file.write(HEAD.encode())
        number = 0
        while done < size:
            number += 1
            done += file.write(PAGE.format(number, article(rng, words)).encode())
        done += file.write(b"</mediawiki>\n")
    return done


def article(rng: Random, words: list[str]) -> str:
    """Wikitext, escaped for XML."""

    def some(count: int) -> str:
        return " ".join(rng.choices(words, k=count))

    infobox = "{{Infobox\n" + "".join(f"| key{i} = [[{some(2)}]] {some(3)}\n" for i in range(8)) + "}}\n"
    paragraphs = []
    for _ in range(rng.randint(2, 12)):
        sentences = []
        for _ in range(rng.randint(2, 6)):
            note = f"&lt;ref&gt;{{{{cite web|url=http://x.org/{some(1)}|title={some(5)}}}}}&lt;/ref&gt;"
            sentences.append(f"{some(12)} [[{some(2)}|{some(1)}]] {some(6)} [[{some(1)}]].{note}")
        picture = f"[[File:{some(1)}.jpg|thumb|{some(6)}]]\n"
        paragraphs.append(picture + " ".join(sentences))
    table = "{| class=wikitable\n" + "".join(f"|-\n| {some(2)} || {some(2)}\n" for _ in range(6)) + "|}\n"
    listed = "".join(f"* [[{some(2)}]]\n" for _ in range(6))
    return infobox + "\n\n== Heading ==\n".join(paragraphs) + "\n" + table + listed


if __name__ == "__main__":
    main()
