"""Stand-ins for `--sample`: a pool of annotated posts, and a language model that reads the last caption alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmkit.annotators.pictures import first_photo
from mmkit.data.types import Example
from mmkit.encoders.sampling import make_once
from mmkit_pgim.colour_names import save_colour_names
from mmkit_pgim.prompt import LABELS

POOL = 12
"""The largest number of posts in the sample's pool."""

CAPTION_ALONE = (
    "{{ messages[0].content.split('"
    + LABELS["caption"]
    + ": ')[-1].split('"
    + LABELS["question"]
    + ":')[0] }}"
)
"""A chat template. Equal captions have equal answers, so that the answers of a random model mean something."""


def save_similar(folder: Path, seed: int, examples: Sequence[Example]) -> dict[str, Any]:
    """Settings of `pgim.similar.v1` for a pool of some of the examples, with a tiny CLIP and captions of colours."""
    from mmkit.encoders.clip_sample import write_tiny_clip

    chosen = [x for x in examples if x.spans and first_photo(x) and len(x.id.split()) == 1][:POOL] or [
        *examples[:POOL]
    ]
    photos = {str(Path(str(found[1].path)).parent.absolute()) for x in chosen if (found := first_photo(x))}
    make_once(folder / "pool", lambda made: _write_pool(made, chosen))
    make_once(folder / "captioner", save_colour_names)
    clip = write_tiny_clip(folder / "clip", seed, examples)
    return {
        "pool": str(folder / "pool" / "answers.txt"),
        "posts": str(folder / "pool" / "posts.txt"),
        "images": photos.pop() if len(photos) == 1 else None,
        "run": None,
        "clip": str(clip),
        "revision": None,
        "captions": None,
        "captioner": str(folder / "captioner"),
        "captioner_revision": None,
    }


def save_chat_model(folder: Path, seed: int, examples: Sequence[Example]) -> dict[str, Any]:
    """Settings of `pgim.knowledge.v1` for a tiny random language model."""
    from mmkit_chat.stand_ins import save_causal_lm
    from mmkit_pgim.colour_names import COLOURS

    def write(made: Path) -> None:
        save_causal_lm(
            made, seed, [*(f"a {colour} picture" for colour in COLOURS), *(x.text for x in examples)]
        )
        (made / "chat_template.jinja").write_text(CAPTION_ALONE, encoding="utf-8")

    make_once(folder, write)
    local = {"backend": "local", "model": str(folder), "revision": None, "temperature": 0.0}
    return {**local, "chat_template_kwargs": None, "max_tokens": 8}


def _write_pool(folder: Path, posts: Sequence[Example]) -> None:
    """The posts with tags, and an answer for each, as people would write it."""
    lines: list[str] = []
    answers: list[str] = []
    for x in posts:
        tags = ["O"] * len(x.tokens)
        for span in x.spans:
            tags[span.start : span.end] = [
                f"B-{span.label}",
                *[f"I-{span.label}"] * (span.end - span.start - 1),
            ]
        found = first_photo(x)
        name = Path(str(found[1].path)).stem if found else x.id
        lines += [f"IMGID:{name}", *(f"{w}\t{t}" for w, t in zip(x.tokens, tags, strict=True)), ""]
        listed = " ".join(
            f"{i}. {' '.join(x.tokens[s.start : s.end])} ({s.label})" for i, s in enumerate(x.spans, 1)
        )
        answers += [
            name,
            f"Named entities: {listed or 'none'} Reasoning: the post by the number {name} mentions them.",
        ]
    (folder / "posts.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "answers.txt").write_text("\n".join(answers) + "\n", encoding="utf-8")
