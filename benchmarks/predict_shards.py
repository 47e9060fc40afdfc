"""Predicting files of posts with one worker and with two, as a ratio, and the memory over many posts.

    python benchmarks/predict_shards.py

Two measurements, each in processes of its own (`--only` makes one of them):

- `rates`: files of some posts and of three times as many, with `--workers 1` and `--workers 2`. The rate is that of the
  posts that the larger file has more, in the time that it takes longer, so that loading the model does not count. Each
  worker has one thread, so that two of them have two cores. `--ray` adds the same with actors of a Ray cluster that is
  started for the command on this machine (package `mmkit-ray`).
- `memory`: the peak memory of one process over a tenth of the posts and over all of them, with a tiny model.

The network has bert-base's real shape with random weights (`--tiny` for a quick look).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common import report

SCRIPT = """
import json, sys, time
from mmkit.inference.shards.files import predict_files
from process_memory import memory

run, source, output, workers, by = sys.argv[1:]
executor = None
if by == "ray":
    from mmkit_ray.executor import RayExecutor

    executor = RayExecutor()
began = time.perf_counter()
predict_files(run, source, output, workers=int(workers), device="cpu", executor=executor)
print(json.dumps({"seconds": time.perf_counter() - began, "peak": memory("VmHWM")}))
"""

RECIPE = """
[recipe]
format = 1

[data.train]
@readers = "mmkit.jsonl.v1"
root = "{root}"
file = "train.jsonl"

[data.dev]
@readers = "mmkit.jsonl.v1"
root = "{root}"
file = "train.jsonl"

[model.encoders.text]
@encoders = "mmkit.transformer.v1"
name = "{name}"

[model.fuser]
@fusers = "mmkit.text_only.v1"

[model.decoder]
@decoders = "mmkit.crf_tagger.v1"

[metrics.spans]
@metrics = "mmkit.span_f1.v1"

[training]
epochs = 1
score = "spans.f1"
"""

WORDS = [
    "look",
    "at",
    "Mara",
    "Okafor",
    "in",
    "Lisbon",
    "tonight",
    "again",
    "with",
    "the",
    "whole",
    "band",
    "and",
    "nobody",
    "else",
    "said",
    "a",
    "word",
]


def posts(number: int) -> Iterator[str]:
    """Posts of 8 to 35 words as lines of JSON."""
    draw = random.Random(0)
    for i in range(number):
        text = " ".join(draw.choice(WORDS) for _ in range(draw.randint(8, 35)))
        yield json.dumps({"id": f"p{i}", "text": text})


def write(path: Path, lines: Iterator[str]) -> Path:
    """A file of lines."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)
    return path


def make_run(folder: Path, tiny_one: bool) -> Path:
    """A trained run (for one epoch on 16 posts): tiny, or of bert-base's shape."""
    from mmkit.loading.stand_ins import tiny
    from mmkit.recipe import load_recipe
    from mmkit.training.train import train

    spans = [{"start": 0, "end": 1, "label": "PER"}]
    examples = (json.dumps({"id": str(i), "tokens": ["Mara", str(i)], "spans": spans}) for i in range(16))
    write(folder / "train.jsonl", examples)
    name = "tiny" if tiny_one else str(bert(folder / "bert"))
    recipe = folder / "own.cfg"
    recipe.write_text(RECIPE.format(root=folder.as_posix(), name=name), encoding="utf-8")
    run = folder / ("tiny-run" if tiny_one else "run")
    loaded = load_recipe(recipe)
    train((tiny(loaded) if tiny_one else loaded).with_overrides({"training.epochs": 1}), run, device="cpu")
    return run


def bert(folder: Path) -> Path:
    """bert-base with random weights and a small vocabulary."""
    import transformers

    folder.mkdir(parents=True)
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *{w.lower() for w in WORDS}, *"0123456789", "##0"]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    transformers.BertTokenizer(vocab=vocabulary, model_max_length=512).save_pretrained(folder)
    transformers.BertModel(transformers.BertConfig(vocab_size=len(vocabulary))).save_pretrained(folder)
    return folder


def measured(run: Path, source: Path, output: Path, workers: int, by: str = "here") -> dict[str, Any]:
    """Predict a file: how many `seconds` it took, and the `peak` memory of the process in bytes.

    `by` is "here" for this machine's processes, or "ray".
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-c", SCRIPT, *map(str, (run, source, output, workers, by))]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def rate(run: Path, folder: Path, number: int, workers: int, by: str) -> float:
    """Posts a second, once the model is loaded."""
    from mmkit.inference.shards.plan import PART

    seconds = []
    for count in (number, 3 * number):
        source = write(folder / "posts.jsonl", posts(count))
        if source.stat().st_size < workers * PART:
            raise SystemExit(f"{count} posts are not a part of the file for each worker: give more --posts")
        output = folder / f"{by}{workers}-{count}"
        seconds.append(measured(run, source, output, workers, by)["seconds"])
    longer = seconds[1] - seconds[0]
    if longer <= 0:
        raise SystemExit(f"{number} posts are too few to be timed: give more --posts")
    return 2 * number / longer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--posts", type=int, help="posts of the smaller file: 2,000, or 6,000 with --ray")
    parser.add_argument("--many", type=int, default=200_000, help="posts for the memory")
    parser.add_argument("--tiny", action="store_true", help="a tiny network for the rates too")
    parser.add_argument("--ray", action="store_true", help="actors of a Ray cluster too")
    parser.add_argument("--only", choices=("rates", "memory"), help="one of the two measurements")
    options = parser.parse_args()
    number = options.posts or (6_000 if options.ray else 2_000)  # an actor may start late: it needs its share
    with tempfile.TemporaryDirectory() as name:
        if options.only != "memory":
            report("predict_shards", rates(Path(name), number, options.tiny, options.ray))
        if options.only != "rates":
            report("predict_shards_memory", peaks(Path(name), options.many))


def rates(folder: Path, number: int, tiny_one: bool, ray: bool) -> list[dict[str, Any]]:
    """A row for one worker, and for two."""
    (folder / "large").mkdir()
    run = make_run(folder / "large", tiny_one)
    sides = {"1 worker": (1, "here"), "2 workers": (2, "here")}
    if ray:
        sides |= {"1 actor of Ray": (1, "ray"), "2 actors of Ray": (2, "ray")}
    found = {what: rate(run, folder, number, *side) for what, side in sides.items()}
    return [{"what": what, "posts/s": own, "ratio": own / found["1 worker"]} for what, own in found.items()]


def peaks(folder: Path, many: int) -> list[dict[str, Any]]:
    """A row for a tenth of the posts, and for all of them."""
    (folder / "small").mkdir()
    run = make_run(folder / "small", True)
    rows = []
    for number in (many // 10, many):
        source = write(folder / "many.jsonl", posts(number))
        done = measured(run, source, folder / f"many{number}", 1)
        rows.append({"posts": number, "posts/s": number / done["seconds"], "peak MiB": done["peak"] / 2**20})
    return rows


if __name__ == "__main__":
    main()
