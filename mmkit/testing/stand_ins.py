"""Stand-ins for the objects around a part: examples, entities, tiny encoders, a batch, and a fuser.

Nothing is downloaded and no file is read: a word or an image becomes numbers through a hash of its name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmkit.batch import Batch, Features, States
from mmkit.data.types import Entity, Example, Image, Mention, Relation, Span, TextView
from mmkit.encoders.abilities import Prefix
from mmkit.encoders.base import Encoder
from mmkit.fusers.base import ALIGNMENT, Fuser

Views = Callable[[Example], Mapping[str, TextView]]
"""The views of an example by name, as `Decoder.views` gives them."""

VOCABULARY = 256
_PIECE = 4
_HEADS = 2


def stand_in_examples() -> list[Example]:
    """Four examples of 4, 9, 2 and 12 words with 1, 2, 0 and 1 images.

    Each has two spans (`PER`, `LOC`), a relation between them (`in` or `None`), a mention and an entity.
    The images are names without files; `written_images` writes the files.
    """
    texts = (
        ("Ann loves Paris today", "in", 1),
        ("look how happy old Bob Miller is in Rome", "None", 2),
        ("Eve Oslo", "in", 0),
        ("nobody knows why our friend Kim went back to cold and grey London", "None", 1),
    )
    places = {0: ((0, 1), (2, 3)), 1: ((4, 6), (8, 9)), 2: ((0, 1), (1, 2)), 3: ((5, 6), (12, 13))}
    made = []
    for number, (text, label, pictures) in enumerate(texts):
        tokens = text.split()
        head, tail = places[number]
        spans = (Span(*head, "PER"), Span(*tail, "LOC"))
        images = tuple(
            Image(f"stand-in-{number}-{i}.png", "photo" if i == 0 else "object") for i in range(pictures)
        )
        made.append(
            Example.from_tokens(
                f"example-{number}",
                tokens,
                images=images,
                spans=spans,
                relations=(Relation(*spans, label),),
                mention=Mention(" ".join(tokens[slice(*head)]), spans[0]),
                entity=f"Q{number}",
            )
        )
    return made


def stand_in_entities() -> list[Entity]:
    """Four entities, those of `stand_in_examples`."""
    names = ("Ann", "Bob Miller", "Eve", "Kim")
    return [
        Entity(f"Q{i}", name, (f"{name} Senior",), f"{name} is a person.", (Image(f"entity-{i}.png"),))
        for i, name in enumerate(names)
    ]


def written_images(examples: Sequence[Example], folder: Path) -> list[Example]:
    """The examples with images that are files in `folder`, of 24 by 20 pixels, whose colour depends on the name."""
    from PIL import Image as Pillow

    folder.mkdir(parents=True, exist_ok=True)

    def written(image: Image) -> Image:
        if image.path is None:
            return image
        path = folder / Path(image.path).name
        Pillow.new("RGB", (24, 20), tuple(_digest(path.name)[:3])).save(path)
        return replace(image, path=str(path))

    return [replace(example, images=tuple(map(written, example.images))) for example in examples]


def plain_views(example: Example) -> dict[str, TextView]:
    """The view `text`, with a marker at the first and the last word."""
    text = TextView.of(example)
    return {"text": replace(text, markers=(0, len(text.words) - 1))}


def batch_of(
    encoders: Mapping[str, Encoder], examples: Sequence[Example], views: Views = plain_views
) -> Batch:
    """A batch of the examples, collated for every encoder; it has no targets."""
    each = [views(example) for example in examples]
    return Batch(tuple(examples), {name: e.collate(examples, each) for name, e in encoders.items()})


class WordEncoder(Encoder):
    """A tiny text encoder: pieces of four letters, numbered by a hash, through two layers of masked attention.

    States of padding are not zero, so that a check notices a part that reads them. Features: `tokens [B, T, D]`,
    `mask [B, T]`, `pooled [B, D]` (the first state). It takes a prefix, and collates `extra_views`.
    """

    provides = frozenset({"tokens", "mask", "pooled"})

    def __init__(
        self, dim: int = 16, view: str = "text", extra_views: tuple[str, ...] = (), frozen: bool = False
    ) -> None:
        super().__init__()
        self.dim, self.view, self.extra_views, self.frozen = dim, view, tuple(extra_views), frozen
        self.provides = self.provides | {"prefix", *(f"view:{name}" for name in self.extra_views)}

    def build(self, special_tokens: Sequence[str] = (), saved: Path | None = None) -> None:
        """Make the network."""
        self.embedding = nn.Embedding(VOCABULARY, self.dim)
        self.positions = nn.Embedding(64, self.dim)
        self.layers = nn.ModuleList(nn.Linear(self.dim, 4 * self.dim) for _ in range(2))

    def save(self, folder: Path) -> None:
        """Nothing but weights is needed."""

    def collate(
        self, examples: Sequence[Example | Entity], views: Sequence[Mapping[str, TextView]]
    ) -> dict[str, Tensor]:
        """`input_ids [B, T]`, padded with 0, `attention_mask [B, T]` and the alignment."""
        inputs = _collated([view[self.view] for view in views])
        for name in self.extra_views:
            inputs |= {f"{name}:{k}": v for k, v in _collated([view[name] for view in views]).items()}
        return inputs

    def length(self, example: Example, views: Mapping[str, TextView]) -> int:
        """The number of pieces."""
        return int(_collated([views[self.view]])["input_ids"].shape[1])

    def prefix_shape(self) -> list[tuple[int, int]]:
        """(heads, head_dim) of each layer."""
        return [(_HEADS, self.dim // _HEADS)] * len(self.layers)

    def forward(self, inputs: dict[str, Tensor], prefix: Prefix | None = None) -> Features:
        """Features of a collated batch."""
        ids, mask = inputs["input_ids"], inputs["attention_mask"].bool()
        states = self.embedding(ids) + self.positions(torch.arange(ids.shape[1], device=ids.device) % 64)
        for number, layer in enumerate(self.layers):
            parts = layer(states).unflatten(2, (4 * _HEADS, -1)).transpose(1, 2).chunk(4, dim=1)
            query, key, value, rest = parts
            seen = mask
            if prefix is not None:
                before = prefix[number]
                key, value = torch.cat([before[0], key], dim=2), torch.cat([before[1], value], dim=2)
                seen = F.pad(mask, (before[0].shape[2], 0), value=True)
            read = F.scaled_dot_product_attention(query, key, value, attn_mask=seen[:, None, None])
            states = states + torch.tanh(read + rest).transpose(1, 2).flatten(2)
        return {"tokens": states, "mask": mask, "pooled": states[:, 0]}


class ImageEncoder(Encoder):
    """A tiny image encoder: numbers that depend on an image's path, through a linear layer. No file is read.

    With `slots`, each example has this many slots, and a blank image goes through the layer like any other. Without,
    there are as many slots as a batch needs, and those without an image are zeros. Features: `pooled [B, n, D]`,
    `grid [B, n, D, 2, 2]`, `mask [B, n]`.
    """

    provides = frozenset({"pooled", "grid", "mask"})

    def __init__(self, dim: int = 12, slots: int | None = None, frozen: bool = False) -> None:
        super().__init__()
        self.dim, self.slots, self.frozen = dim, slots, frozen
        self.grid = 2

    def build(self, special_tokens: Sequence[str] = (), saved: Path | None = None) -> None:
        """Make the layer."""
        self.linear = nn.Linear(8, self.dim)

    def save(self, folder: Path) -> None:
        """Nothing but weights is needed."""

    def collate(
        self, examples: Sequence[Example | Entity], views: Sequence[Mapping[str, TextView]]
    ) -> dict[str, Tensor]:
        """`cells [B, n, 4, 8]` and `mask [B, n]`."""
        each = [[_cells(image) for image in x.images if image.path is not None] for x in examples]
        slots = self.slots or max(1, *map(len, each))
        cells, mask = torch.zeros(len(each), slots, 4, 8), torch.zeros(len(each), slots, dtype=torch.bool)
        for number, found in enumerate(each):
            for slot, one in enumerate(found[:slots]):
                cells[number, slot], mask[number, slot] = one, True
        return {"cells": cells, "mask": mask}

    def forward(self, inputs: dict[str, Tensor]) -> Features:
        """Features of a collated batch."""
        mask, states = inputs["mask"], torch.tanh(self.linear(inputs["cells"]))
        if self.slots is None:
            states = states * mask[:, :, None, None]
        grid = states.transpose(2, 3).unflatten(3, (2, 2))
        return {"pooled": states.mean(2), "grid": grid, "mask": mask}


class StateFuser(Fuser):
    """Gives a decoder the states of one text encoder, and `query`, which is `pooled`.

    `also` are names of further states of subwords that a decoder reads: each is `tokens`, in another order of its
    numbers, so that a decoder that takes one for another is noticed.
    """

    provides = frozenset({"tokens", "mask", "pooled", "query"}) | ALIGNMENT

    def __init__(self, text: str = "text", also: Sequence[str] = ()) -> None:
        super().__init__()
        self.text, self.also = text, tuple(also)
        self.provides = self.provides | set(also)

    def requires(self) -> dict[str, frozenset[str]]:
        """The text encoder's features."""
        return {self.text: frozenset({"tokens", "mask", "pooled"})}

    def build(self, encoders: Mapping[str, Encoder]) -> None:
        """There are no layers."""
        self.dims = dict.fromkeys(("tokens", "pooled", "query", *self.also), encoders[self.text].dim)

    def forward(self, encoders: Mapping[str, Encoder], batch: Batch) -> States:
        """The encoder's features."""
        inputs = batch.inputs[self.text]
        features = encoders[self.text](inputs)
        tokens = features["tokens"]
        also = {name: tokens.roll(place, dims=2) for place, name in enumerate(self.also, start=1)}
        return States.of_text({**features, **also, "query": features["pooled"]}, inputs)


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=32).digest()


def _cells(image: Image) -> Tensor:
    seed = _digest(f"{image.path} {image.box}")
    return (torch.tensor(list(seed), dtype=torch.float32) / 127.5 - 1).view(4, 8)


def _collated(views: Sequence[TextView]) -> dict[str, Tensor]:
    """Tensors of one view of each example: a first piece for the whole, then those of each word."""
    rows: list[dict[str, list[int]]] = []
    for view in views:
        ids, words, starts = [1], [-1], []
        for word, token in zip(view.words, view.index, strict=True):
            starts.append(len(ids))
            pieces = [word[i : i + _PIECE] for i in range(0, max(1, len(word)), _PIECE)]
            ids += [2 + int.from_bytes(_digest(piece)[:4]) % (VOCABULARY - 2) for piece in pieces]
            words += [token] * len(pieces)
        first = [-1] * (max(view.index, default=-1) + 1)
        for start, token in reversed(list(zip(starts, view.index, strict=True))):
            if token >= 0:
                first[token] = start
        markers = [starts[marker] for marker in view.markers]
        rows.append({"input_ids": ids, "word_index": words, "first_subword": first, "marker_index": markers})
    inputs = {name: _padded([r[name] for r in rows], 0 if name == "input_ids" else -1) for name in rows[0]}
    return {**inputs, "attention_mask": (inputs["input_ids"] > 0).long()}


def _padded(rows: Sequence[Sequence[int]], fill: int) -> Tensor:
    width = max(map(len, rows))
    return torch.tensor([[*r, *[fill] * (width - len(r))] for r in rows], dtype=torch.long).view(
        len(rows), width
    )


def stand_ins_for(needs: Mapping[str, Any]) -> dict[str, Encoder]:
    """An encoder for each name that a fuser requires: of words if it requires tokens, else of images.

    Raises `ValueError` for features that no stand-in gives.
    """
    made: dict[str, Encoder] = {}
    for name, wanted in needs.items():
        features = frozenset(getattr(wanted, "features", wanted))
        named = {f.removeprefix("view:") for f in features if f.startswith("view:")}  # as a plain set says it
        views = tuple(sorted(named | set(getattr(wanted, "views", ()))))
        encoder: Encoder = WordEncoder(extra_views=views)
        if "tokens" not in features and "prefix" not in features:
            encoder = ImageEncoder(slots=None if "mask" in features else 2)
        if lacking := sorted(features - encoder.provides):
            raise ValueError(
                f"no stand-in gives {', '.join(lacking)}: give the check `encoders={{{name!r}: ...}}`"
            )
        made[name] = encoder
    return made
