"""What a model does not read in a dataset: the ends of long texts, and images that no encoder reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

from mmkit.data.problems import Problem, counted
from mmkit.data.types import Entity, Example
from mmkit.decoders.base import Decoder
from mmkit.encoders.base import Encoder
from mmkit.encoders.cut import Cut
from mmkit.encoders.item_encoder import ItemEncoder
from mmkit.entities.side import EntitySide
from mmkit.errors import MMKitError
from mmkit.fit import Parts
from mmkit.loading.split import Split
from mmkit.model import Item, make_items, unseen

TEXTS, PICTURES = "data.cut-texts", "data.unread-pictures"
"""Codes of the warnings."""

ENTITIES = 10_000
"""Entities of a knowledge base that are looked at."""


def unread(
    items: Sequence[Item],
    decoder: Decoder,
    encoders: Mapping[str, Encoder],
    *,
    pictures: bool = True,
    annotated: bool = False,
    pending: bool = False,
) -> list[Problem | str]:
    """What a user should know about examples that are not read completely: warnings, and remarks if nothing is lost.

    `encoders` are those that read examples, by name: all of them, if `pictures` are checked too. With `annotated`,
    annotators may have read the images; `pending`: they have not run yet.
    """
    found: list[Problem | str] = []
    for name, encoder in encoders.items():
        cut = [(item, item.cut[name]) for item in items if name in item.cut]
        found += _cut_texts(name, encoder, decoder, items, cut)
    if pictures:
        found += _pictures([item.example for item in items], encoders, annotated, pending)
    return found


def unread_notes(
    split: Split,
    items: Sequence[Item],
    decoder: Decoder,
    encoders: Mapping[str, Encoder],
    *,
    annotated: bool = False,
) -> list[str]:
    """The same for one split, as notes."""
    return _notes(split, unread(items, decoder, encoders, annotated=annotated))


def before_building(
    parts: Parts, splits: Iterable[Split], annotated: bool
) -> Iterator[tuple[Split, list[Problem | str]]]:
    """The same for several splits, as far as possible without weights and annotations.

    `annotated`: there are annotators, which have not run.
    """
    encoders, decoder, side = parts.reading, parts.decoder, parts.entity_side
    try:
        ready = {n: e for n, e in encoders.items() if e.build_tokenizer(decoder.special_tokens)}
        known = side is not None and all(e.build_tokenizer() for e in side.named_encoders.values())
    except MMKitError:
        return  # a missing tokenizer is reported elsewhere
    for split in splits:
        if len(split.entities):
            yield split, unread_entities(side, split.entities) if known else []
            continue
        try:
            items = make_items(decoder, ready, split.examples)
        except MMKitError:
            continue  # and so are examples that the decoder cannot read
        whole = len(ready) == len(encoders)
        yield (
            split,
            unread(items, decoder, ready, pictures=whole, annotated=annotated, pending=annotated),
        )


def unread_entities(side: EntitySide | None, entities: Sequence[Entity]) -> list[Problem | str]:
    """What a user should know about the texts and images of entities; for a large knowledge base, of its first ones.

    The encoders of `side` have their tokenizers.
    """
    if side is None or not len(entities):
        return []
    some = list(islice(entities, ENTITIES))
    among = counted(len(some), "entity", "entities")
    among = f"the first {among}" if len(some) < len(entities) else among
    at = "model.encoders" if side.lent else "model.entities.encoders"
    found: list[Problem | str] = []
    for name, encoder in side.named_encoders.items():
        if isinstance(encoder, ItemEncoder) and (long := sum(encoder.source.too_long(x) for x in some)):
            found.append(f"{at}.{name} reads only the beginning of the texts of {long:,} of {among}")
    seen = [(x, unseen(side.named_encoders.values(), x)) for x in some]
    beyond = [x.id for x, u in seen if u.looks and u.left]
    if beyond:
        images = counted(sum(len(u.left) for _, u in seen), "image")
        said = f"the model never reads {images} of {len(beyond):,} of {among}, those after the first ones"
        found.append(Problem(said, [(id, None) for id in beyond], code=PICTURES, level="warning"))
    return found


def entity_notes(split: Split, side: EntitySide | None) -> list[str]:
    """The same, as notes."""
    return _notes(split, unread_entities(side, split.entities))


def _notes(split: Split, found: Iterable[Problem | str]) -> list[str]:
    said = (f"warning: {x.said(split.places)}" if isinstance(x, Problem) else x for x in found)
    return [f"data.{split.name}: {message}" for message in said]


def _cut_texts(
    name: str,
    encoder: Encoder,
    decoder: Decoder,
    items: Sequence[Item],
    found: Sequence[tuple[Item, Cut]],
) -> Iterator[Problem | str]:
    """What an encoder cuts off, and how much of the gold data is lost."""
    texts = [(item, cut) for item, cut in found if cut.token is not None or cut.mention]
    if texts:
        limit = texts[0][1].limit
        longer = "is longer than" if len(texts) == 1 else "are longer than"
        said = f"{len(texts):,} of {len(items):,} texts {longer} model.encoders.{name} can read ({limit} subwords)"
        lost = _lost(decoder, items, texts)
        at = [(item.example.id, cut.token) for item, cut in texts]
        if lost or any(cut.words for _, cut in texts):
            yield Problem(
                f"{said}: {lost or 'the rest is not read'}", at, _advice(encoder, decoder), TEXTS, "warning"
            )
        else:
            yield f"{said}: the rest is not read"
    if contexts := sum(cut.context for _, cut in found):
        further = counted(contexts, "further text")
        whole = "" if texts else "; the sentences themselves are read completely"
        yield f"model.encoders.{name} reads only the beginning of {further} (contexts, notes){whole}"


def _lost(decoder: Decoder, items: Sequence[Item], texts: Sequence[tuple[Item, Cut]]) -> str:
    """The gold data beyond the limit: its number and the total."""
    said = []
    finds = decoder.task.finds
    for kind, ends in (("spans", _span_ends), ("relations", _relation_ends)):
        if kind in finds:
            cut_off = [(item, cut.token) for item, cut in texts if cut.words and cut.token is not None]
            lost = sum(end > token for item, token in cut_off for end in ends(item.example))
            if lost:
                said.append(f"{lost:,} of {sum(len(ends(item.example)) for item in items):,} {kind}")
    if "links" in finds and (lost := sum(cut.mention for _, cut in texts)):
        said.append(f"the words of {lost:,} of {len(items):,} mentions")
    return f"{' and '.join(said)} are cut off, so they are neither learned nor found" if said else ""


def _span_ends(example: Example) -> list[int]:
    return [span.end for span in example.spans]


def _relation_ends(example: Example) -> list[int]:
    """For each relation, the end of the later one of head and tail."""
    return [max(relation.head.end, relation.tail.end) for relation in example.relations]


def _advice(encoder: Encoder, decoder: Decoder) -> str:
    able = decoder.reads_windows and hasattr(encoder, "window_overlap")
    windows = "set its window_overlap, to read long texts in windows, " if able else ""
    return f"raise its max_length as far as the model allows, {windows}or shorten the texts"


def _pictures(
    examples: Sequence[Example], encoders: Mapping[str, Encoder], annotated: bool, pending: bool
) -> Iterator[Problem | str]:
    """Images that no encoder reads, and examples without an image for a model that reads images."""
    found = [(example, unseen(encoders.values(), example)) for example in examples]
    looks = any(u.looks for _, u in found)
    if annotated and not looks:
        return
    if pending and not any(u.looks and not u.blank for _, u in found):
        return  # it may read what annotators will add, such as regions of the photo
    for role, name in (("photo", "photos"), ("object", "object crops")):
        left = [x for x, u in found for i in u.left if x.images[i].role == role]
        if not left:
            continue
        count = sum(image.role == role and image.path is not None for x in examples for image in x.images)
        if len(left) == count:
            yield f"the model reads none of the {counted(count, name.removesuffix('s'), name)}"
            continue
        ids = list(dict.fromkeys(x.id for x in left))
        beyond = f"those after the first ones of {counted(len(ids), 'example')}"
        said = f"the model never reads {len(left):,} of {count:,} {name}, {beyond}"
        yield Problem(said, [(id, None) for id in ids], code=PICTURES, level="warning")
    if blank := [x.id for x, u in found if u.blank]:
        said = f"{counted(len(blank), 'example has', 'examples have')} no image that the model reads"
        said = f"{said}; a blank image is used"
        everywhere = len(blank) == len(examples)
        at = [(id, None) for id in blank]
        yield Problem(said, at, code=PICTURES, level="warning") if everywhere else said
