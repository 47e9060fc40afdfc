"""How fast posts are read, on one core, and whether memory stays flat: jsonlines and parquet.

    python benchmarks/reading.py                     # a million posts, as measured for docs/formats.md
    python benchmarks/reading.py --posts 20000       # a quick look

Posts are generated: 16 words, a photo, two spans. jsonlines are read by `mmkit.jsonl.v1`, as canonical records (tokens
and token bounds) and as people write them (a text and character bounds, tokenised while reading); parquet by
`formats.parquet.v1` (tokens, and spans by characters). Seconds are those of the process (user and system time), so
that other programs on the machine do not count. Memory is the peak of a process of its own, and is compared with that
for a tenth of the posts.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from common import report
from process_memory import memory

from mmkit.data.jsonl_writer import JsonlWriter
from mmkit.data.types import Example, Image, Span
from mmkit.loading.reading import read
from mmkit.registry import build_part

WORDS = tuple("look at Jordan and Chicago scoring again today with the Bulls tonight @fan #win !".split())  # noqa: SIM905
PHOTOS = 997
GOALS = {"jsonlines": 15_000, "parquet": 25_000}
FILES = {
    "jsonlines": ("posts.jsonl", "mmkit.jsonl.v1"),
    "jsonlines by characters": ("characters.jsonl", "mmkit.jsonl.v1"),
    "parquet": ("posts.parquet", "formats.parquet.v1"),
}


def posts(number: int) -> Iterator[Example]:
    """Generated posts, the same every time."""
    rng = Random(1)
    for i in range(number):
        tokens = rng.choices(WORDS, k=16)
        spans = (Span(2, 3, "PER"), Span(5, 7, "LOC"))
        yield Example.from_tokens(str(i), tokens, images=(Image(f"photos/{i % PHOTOS}.jpg"),), spans=spans)


def write(number: int, folder: Path) -> None:
    """The files that are read, and the photos that they name."""
    (folder / "photos").mkdir()
    for i in range(PHOTOS):
        (folder / "photos" / f"{i}.jpg").touch()
    JsonlWriter().write(folder / FILES["jsonlines"][0], posts(number))
    build_part("writers", "formats.parquet.v1", {}).write(folder / FILES["parquet"][0], posts(number))
    with (folder / FILES["jsonlines by characters"][0]).open("w", encoding="utf-8") as file:
        for post in posts(number):
            spans = [
                {
                    "start_char": post.offsets[s.start][0],
                    "end_char": post.offsets[s.end - 1][1],
                    "label": s.label,
                }
                for s in post.spans
            ]
            record = {"id": post.id, "text": post.text, "images": [str(post.images[0].path)], "spans": spans}
            file.write(json.dumps(record) + "\n")


def measured(path: Path, reader: str) -> dict[str, Any]:
    """Read a file in this process: posts, spans, seconds and the peak of memory."""
    records = read(path, reader)
    begun = time.process_time()
    number = spans = 0
    for post in records:
        number += 1
        spans += len(post.spans)
    seconds = time.process_time() - begun
    return {
        "posts": number,
        "spans": spans,
        "seconds": round(seconds, 2),
        "posts/s": round(number / seconds),
        "peak MiB": round(memory("VmHWM") / 2**20),
    }


def in_own_process(path: Path, reader: str) -> dict[str, Any]:
    """`measured`, in a process that does nothing else."""
    command = [sys.executable, __file__, "--measure", str(path), reader]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--posts", type=int, default=1_000_000)
    parser.add_argument("--measure", nargs=2, metavar=("FILE", "READER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measured(Path(arguments.measure[0]), arguments.measure[1])))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        few, all_ = Path(folder) / "few", Path(folder) / "all"
        for target, number in ((few, max(1, arguments.posts // 10)), (all_, arguments.posts)):
            target.mkdir()
            write(number, target)
        for name, (file, reader) in FILES.items():
            small, found = (in_own_process(target / file, reader) for target in (few, all_))
            assert found["posts"] == arguments.posts and found["spans"] == 2 * arguments.posts
            rows.append(
                {"file": name, **found, "peak MiB, a tenth": small["peak MiB"], "goal": GOALS.get(name)}
            )
    report("reading", rows, posts=arguments.posts)


if __name__ == "__main__":
    main()
