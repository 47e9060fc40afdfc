"""What the real photos show, as words: BLIP-2's captions as contexts on Twitter-2015 and Twitter-2017.

    python benchmarks/real/captions.py twitter2017 --tweets data/twitter2017 --captions data/captions/BLIP2_17.txt \\
        --data data/pgim/2017 --models models

Beside the arms `text` and `contexts` of `more_contexts.py`, whose runs are taken if they are there: the caption alone,
the caption before PGIM's context, and the mixture of the two experts `contexts` and `captions`, whose gate alone is
trained. The sentences, their order and their labels are those of PGIM's files.
"""

from __future__ import annotations

import argparse
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import more_contexts
from arms import Arm, Study
from command import main, parser_of

from mmkit.data.conll import ConllImagesReader
from mmkit.data.jsonl import write_jsonl
from mmkit.data.lines import numbered_lines
from mmkit.data.types import Example
from mmkit.errors import DataError
from mmkit_more.conll import ConllContextsReader
from mmkit_more.contexts import TEXT_CONTEXT

CAPTION, BOTH = "real.caption", "real.both"
"""The notes with a caption, and with a caption and PGIM's context."""
SPLITS = {"train": "train", "dev": "valid", "test": "test"}
EXPERTS = ["contexts", "captions"]
ARMS = [
    Arm("captions", "the sentence with the photo's caption", {"model.decoder.context": CAPTION}),
    Arm("both", "the sentence with caption and context", {"model.decoder.context": BOTH}),
    Arm(
        "mixture",
        "the mixture of both experts",
        {
            "annotators": {},
            "model.encoders": {
                name: {"@encoders": "mmkit.run.v1", "run": "", "frozen": True} for name in EXPERTS
            },
            "model.fuser": {"@fusers": "more.mixture.v1", "experts": EXPERTS},
            "model.decoder": {"@decoders": "more.mixture_tagger.v1", "experts": EXPERTS},
        },
        recipe="more_twitter17_moe",
        experts={name: name for name in EXPERTS},
    ),
]


def captions_of(path: Path) -> dict[str, str]:
    """Photo → caption, of `108911.jpg :the chicago bears ...` lines. Raises `DataError` if the file cannot be read."""
    pairs = (line.partition(":") for _, line in numbered_lines(path) if ":" in line)
    return {name.strip(): caption.strip() for name, _, caption in pairs}


def described(tweets: Path, pgim: Path, captions: Path, split: str) -> Iterator[Example]:
    """PGIM's examples of a split, with the caption of each one's photo.

    PGIM's files do not name the photos, so each sentence is looked up among the original tweets. Captions that are
    published empty stay empty: two of Twitter-2015 are. Raises `DataError` for a sentence that is not there, has other
    labels, or whose photo is not in the file of captions.
    """
    rename = {"OTHER": "MISC"}
    known: dict[tuple[str, ...], deque[Example]] = defaultdict(deque)
    for tweet in ConllImagesReader(str(tweets), f"{split}.txt", rename=rename):
        known[tweet.tokens].append(tweet)
    said = captions_of(captions)
    for example in ConllContextsReader(str(pgim), f"{split}.txt", images=None, rename=rename):
        tweet = known[example.tokens].popleft() if known[example.tokens] else None
        caption = said.get(Path(tweet.images[0].path or "").name) if tweet else None
        if tweet is None or tweet.spans != example.spans or caption is None:
            raise DataError(
                "no tweet with the same words and labels has a caption", where=f"{pgim}: {example.id}"
            )
        context = example.notes.get(TEXT_CONTEXT, "")
        notes = {**example.notes, CAPTION: caption, BOTH: f"{caption} . {context}" if caption else context}
        yield replace(example, notes=notes)


def study_of(arguments: argparse.Namespace) -> Study:
    """The study of one dataset; writes its examples with captions beside the runs."""
    base = more_contexts.study_of(arguments)
    name = f"captions_{arguments.dataset}"
    folder = arguments.runs.resolve() / name / "data"
    folder.mkdir(parents=True, exist_ok=True)
    data: dict[str, Any] = {}
    for part, split in SPLITS.items():
        examples = described(arguments.tweets, arguments.data, arguments.captions, split)
        write_jsonl(folder / f"{split}.jsonl", examples, "examples")
        data[f"data.{part}"] = {"@readers": "mmkit.jsonl.v1", "root": str(folder), "file": f"{split}.jsonl"}
    borrowed = [replace(arm, origin=base) for arm in base.arms if arm.name in ("text", "contexts")]
    dataset, _ = more_contexts.DATASETS[arguments.dataset]
    return replace(
        base,
        name=name,
        title=f"Captions of the real photos on {dataset}",
        paths={**base.paths, **data},
        arms=[*borrowed, *ARMS],
    )


if __name__ == "__main__":
    parser = parser_of(__doc__)
    parser.add_argument("dataset", choices=sorted(more_contexts.DATASETS))
    parser.add_argument("--tweets", type=Path, required=True, help="folder of the original tweets")
    parser.add_argument(
        "--captions", type=Path, required=True, help="BLIP-2's captions of the dataset's photos"
    )
    main(parser, study_of)
