"""The published files by their fingerprints, and how many of their posts files of Twitter-2015 and 2017 have too."""

from __future__ import annotations

from collections.abc import Mapping

VARIANTS: Mapping[str, str] = {
    "9c466d1bddff": "Twitter10000 train, version 1",
    "eef9410d73b0": "Twitter10000 dev, version 1",
    "628671b813f2": "Twitter10000 test, version 1",
    "72770413f5a8": "Twitter10000 train, version 2",
    "07435237d7bf": "Twitter10000 dev, version 2",
    "a178a5f6f422": "Twitter10000 test, version 2",
}
"""First 12 hex digits of a text file's SHA-256 → the variant it is. Papers compare both versions without a word."""

BOXES: Mapping[str, str] = {
    "622646267aa2": "Twitter10000 boxes of train, version 1",
    "6435d5b2948c": "Twitter10000 boxes of dev, version 1",
    "aec2e68d85d1": "Twitter10000 boxes of test, version 1",
    "d8b5e32a205d": "Twitter10000 boxes of train, version 2",
    "28477f50d157": "Twitter10000 boxes of dev, version 2",
    "e0f25680d7e9": "Twitter10000 boxes of test, version 2",
}
"""The same for the files of boxes of a split's posts, which have one fingerprint together."""

_SHARED = {
    "train": (7000, (1967, 482, 1563), (2073, 448, 467)),
    "dev": (1500, (419, 110, 348), (439, 91, 93)),
    "test": (1500, (404, 108, 326), (482, 98, 82)),
}
"""Split → its posts, and how many of them are in train, valid and test of Twitter-2015, and of Twitter-2017."""

_ORIGINALS = {
    "Twitter-2015": (
        ("a6246e37aa1c", "66c1336f27fe"),
        ("9dcc7f9df733", "51e003ec71c2"),
        ("edb2665b89bf", "a4ef7f191a45"),
    ),
    "Twitter-2017": (("801e149e8635",), ("41b5db90cb32",), ("a7d9e172ae85",)),
}
"""Dataset → the fingerprints of its files of train, valid and test (of Twitter-2015 also the relabelled ones)."""


def split_of(sha: str) -> str | None:
    """The split of Twitter10000 that a file with this SHA-256 is; None if it is none of them."""
    variant = VARIANTS.get(sha[:12])
    return None if variant is None else variant.removeprefix("Twitter10000 ").partition(",")[0]


def shared_posts(split: str, sha: str) -> tuple[str, int, int] | None:
    """Which file of Twitter-2015 or 2017 has this SHA-256, and how many of how many posts of a split it has too.

    For example ("Twitter-2015 train", 404, 1500); None for another file.
    """
    posts, *shared = _SHARED[split]
    for (dataset, files), counts in zip(_ORIGINALS.items(), shared, strict=True):
        for name, shas, count in zip(("train", "valid", "test"), files, counts, strict=True):
            if sha[:12] in shas:
                return f"{dataset} {name}", count, posts
    return None
