"""MoRe with real contexts: Twitter-2015 and Twitter-2017 with what a chat model said of each post.

    python benchmarks/real/more_contexts.py twitter2017 --data data/pgim/2017 --models models

The data are PGIM's, in the format of MoRe's authors: each sentence, the separator, and its context. Three arms share
everything else: the sentence alone, the sentence with its context, and both views with MoRe's two-view loss. The
encoder is MiniLM (the folder `minilm`), and not the xlm-roberta-large of the papers.
"""

from __future__ import annotations

import argparse

from arms import Arm, Study
from command import main, parser_of

CONTEXT = {"model.decoder.context": "more.text_context"}
ARMS = [
    Arm("text", "the sentence alone"),
    Arm("contexts", "the sentence with its context", CONTEXT),
    Arm(
        "two_views",
        "with and without its context, with the two-view loss",
        {
            **CONTEXT,
            "model.encoders.text.extra_views": ["plain"],
            "model.fuser": {"@fusers": "more.two_views.v1"},
            "model.decoder.two_views": True,
        },
    ),
]
DATASETS = {
    "twitter2015": ("Twitter-2015", "more_twitter15_baseline"),
    "twitter2017": ("Twitter-2017", "more_twitter17_baseline"),
}


def training(epochs: int) -> dict[str, object]:
    """Settings of every arm: a small encoder can be trained faster than the recipe's large one."""
    return {
        "model.encoders.text.attention_dropout": 0.0,  # on a CPU, long texts train twice as fast
        "training.epochs": epochs,
        "training.batch_size": 16,
        "training.learning_rate": 1e-4,
        "training.schedule_every": "step",
        "training.groups.crf.learning_rate": 1e-2,
    }


def study_of(arguments: argparse.Namespace) -> Study:
    """The study of one dataset."""
    dataset, recipe = DATASETS[arguments.dataset]
    minilm = arguments.models.resolve() / "minilm"
    return Study(
        name=f"more_contexts_{arguments.dataset}",
        title=f"MoRe with real contexts on {dataset}",
        recipe=recipe,
        settings=training(arguments.epochs),
        paths={"paths.data": str(arguments.data.resolve()), "backbones.text": str(minilm)},
        encoders={"text": minilm},
        arms=ARMS,
    )


if __name__ == "__main__":
    parser = parser_of(__doc__)
    parser.add_argument("dataset", choices=sorted(DATASETS))
    main(parser, study_of)
