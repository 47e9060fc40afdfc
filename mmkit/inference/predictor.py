"""Prediction with a trained run: one sentence with its pictures, or a stream of examples."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmkit.annotators.base import Annotator
from mmkit.annotators.run import annotate
from mmkit.data.knowledge import KnowledgeBase
from mmkit.data.tokenize import tokenize
from mmkit.data.types import SOURCES, Entity, Example, Image, Mention, Prediction, Relation, Span
from mmkit.encoders.base import ItemEncoder, MissingImages
from mmkit.errors import DataError, ImageError
from mmkit.inference.devices import pick_device, pick_precision
from mmkit.inference.evaluation import predict_items
from mmkit.inference.features import prepare_entities
from mmkit.model import Model
from mmkit.recipe import Recipe
from mmkit.runs.folder import Run

CHUNK = 1024
"""Examples of a stream that are batched by length together; bounds memory, whatever the stream's length."""


class Predictor:
    """A trained model ready to predict. Made by `mmkit.load(run)`.

    A picture that is missing or broken is an error unless `missing_images` is set to "blank".
    """

    def __init__(self, model: Model, recipe: Recipe, device: str = "auto") -> None:
        self.device = pick_device(device)
        self.model = model.to(self.device).eval()
        self.recipe = recipe
        self.precision = pick_precision(recipe.training.precision, self.device)
        annotators = (build_annotator(recipe, name) for name in recipe.parts("annotators"))
        self.annotators = [annotator for annotator in annotators if annotator.over == "examples"]
        for annotator in self.annotators:
            annotator.entities = model.entities
        prepare_entities(self.model, self.device, recipe.training)
        self.missing_images = "error"

    @classmethod
    def from_run(cls, run: str | Path, device: str = "auto", entities: str | Path | None = None) -> Predictor:
        """Load a run folder; see `mmkit.load`."""
        folder = Run(run)
        recipe = folder.recipe()
        model = folder.model(recipe, None if entities is None else Path(entities))
        if entities is not None and not model.decoder.links:
            raise DataError("this model links no mentions, so entities mean nothing to it", where=entities)
        return cls(model, recipe, device)

    @property
    def missing_images(self) -> MissingImages:
        """What becomes of pictures that cannot be read: "error" or "blank"."""
        return self._missing_images

    @missing_images.setter
    def missing_images(self, policy: MissingImages) -> None:
        self._missing_images = policy
        for encoder in self.model.named_encoders.values():
            if isinstance(encoder, ItemEncoder):
                encoder.missing_images = policy

    @property
    def replaced(self) -> dict[str, str]:
        """The pictures that blank ones stood in for so far, and why."""
        encoders = self.model.named_encoders.values()
        return {
            path: reason
            for encoder in encoders
            if isinstance(encoder, ItemEncoder)
            for path, reason in encoder.replaced.items()
        }

    def predict(
        self,
        text: str | Sequence[str],
        images: Sequence[str | Path | Image] = (),
        *,
        head: str | tuple[int, int] | None = None,
        tail: str | tuple[int, int] | None = None,
        mention: str | tuple[int, int] | None = None,
        candidates: Sequence[str] = (),
    ) -> dict[str, Any]:
        """Extract from one sentence (a string, or its tokens) and its pictures.

        `head` and `tail` are the pair for a relation classifier: words of the text, or token bounds [start, end).
        `mention` is what a linker links: words, or token bounds; `candidates` are ids of entities to choose from.
        Returns JSON: `text`, `tokens`, and `entities`, `relations`, `links` as the model gives them; entities carry
        `start`/`end` in tokens, `start_char`/`end_char` in characters, both end exclusive, and a score.
        Raises `DataError` for a pair that is not in the text or a picture that cannot be read.
        """
        example = self.example(text, images, head, tail, mention, candidates)
        return describe(example, next(self.stream([example]))[1], self.model.entities)

    def link(
        self,
        text: str | Sequence[str],
        mention: str | tuple[int, int],
        images: Sequence[str | Path | Image] = (),
        *,
        candidates: Sequence[str] = (),
        top: int = 5,
    ) -> list[dict[str, Any]]:
        """The entities a mention most likely stands for, the best first.

        `mention` is words (also such that the text lacks) or token bounds [start, end). Chosen among `candidates`
        (ids), or what the recipe's annotator proposes, or the whole knowledge base.
        Returns for each: `entity` (its id), `name`, `description` and `score`, which is (1 + cosine) / 2.
        Raises `DataError` if this model does not link, or a candidate is not in its knowledge base.
        """
        found = self.predict(text, images, mention=mention, candidates=candidates)
        return found.get("links", [])[:top]

    def example(
        self,
        text: str | Sequence[str],
        images: Sequence[str | Path | Image] = (),
        head: str | tuple[int, int] | None = None,
        tail: str | tuple[int, int] | None = None,
        mention: str | tuple[int, int] | None = None,
        candidates: Sequence[str] = (),
    ) -> Example:
        """An example of a user's own sentence, with the pair or the mention that this model needs, and no other."""
        decoder = self.model.decoder
        example = make_example(text, images, head, tail, mention, candidates)
        if example.relations and not decoder.pairs:
            raise DataError(
                "this model classifies no pairs, so head and tail mean nothing to it",
                where=example.id,
                hint="leave out --head and --tail",
            )
        if decoder.pairs and not example.relations:
            raise DataError(
                "there is no pair of spans to classify",
                where=example.id,
                hint="give words of the text as --head and --tail",
            )
        if (mention is not None or candidates) and not decoder.links:
            raise DataError(
                "this model links no mentions, so mention and candidates mean nothing to it",
                where=example.id,
                hint="leave out --mention and --candidate",
            )
        if decoder.links and mention is None:
            raise DataError(
                "there is no mention to link",
                where=example.id,
                hint="give its words as --mention, or mention=... in Python",
            )
        unknown = [id for id in example.candidates if id not in self.model.entities]
        if unknown:
            raise DataError(
                f"the knowledge base has no entity {', '.join(map(repr, unknown[:5]))}",
                where=example.id,
                hint="candidates are ids of [data.entities]",
            )
        return example

    def predict_batch(self, examples: Iterable[Example]) -> list[Prediction]:
        """Predictions in the order of `examples` (of their units, where the decoder splits them)."""
        return [prediction for _, prediction in self.stream(examples)]

    def stream(
        self, examples: Iterable[Example], batch_size: int | None = None
    ) -> Iterator[tuple[Example, Prediction]]:
        """(example, prediction) in order, lazily, in bounded memory."""
        size = batch_size or self.recipe.training.eval_batch_size
        remaining = iter(examples)
        while chunk := list(itertools.islice(remaining, CHUNK)):
            for annotator in self.annotators:
                chunk = list(annotate(annotator, chunk, str(self.device)))
            items = self.model.items(chunk)
            try:
                found = sorted(
                    predict_items(self.model, items, size, self.precision), key=lambda pair: pair[0]
                )
            except ImageError as error:
                raise _of_example(error, chunk) from error
            for item, (_, prediction) in zip(items, found, strict=True):
                yield item.example, prediction


def build_annotator(recipe: Recipe, name: str) -> Annotator:
    """A recipe's annotator without what it would write: a run from elsewhere may name any path."""
    annotator: Annotator = recipe.build(f"annotators.{name}")
    if not annotator.writes:
        return annotator
    unwritten = recipe.with_overrides(
        {f"annotators.{name}.{argument}": None for argument in annotator.writes}
    )
    return unwritten.build(f"annotators.{name}")


def make_example(
    text: str | Sequence[str],
    images: Sequence[str | Path | Image] = (),
    head: str | tuple[int, int] | None = None,
    tail: str | tuple[int, int] | None = None,
    mention: str | tuple[int, int] | None = None,
    candidates: Sequence[str] = (),
    id: str = "input",
) -> Example:
    """An example from a user's own sentence; see `Predictor.predict`."""
    if isinstance(images, str | Path):
        raise DataError("images is one path, not a list of them", where=id, hint=f"images=[{str(images)!r}]")
    pictures = tuple(image if isinstance(image, Image) else Image(str(image)) for image in images)
    try:
        "".join([text] if isinstance(text, str) else text).encode()
    except UnicodeEncodeError as error:
        raise DataError("the text is no valid Unicode", where=id, hint="give it in UTF-8") from error
    if isinstance(text, str):
        tokens, offsets = tokenize(text)
        example = Example(id, text, tuple(tokens), tuple(offsets), pictures)
    else:
        example = Example.from_tokens(id, text, images=pictures)
    if not example.tokens and (mention is None or not pictures):
        raise DataError("the text has no words", where=id, hint="give a sentence")
    if (head is None) != (tail is None):
        raise DataError("a pair needs both head and tail", where=id, hint="give --head and --tail")
    if head is not None and tail is not None:
        pair = Relation(_find(example, head, "head"), _find(example, tail, "tail"))
        example = replace(example, relations=(pair,))
    if mention is not None:
        example = replace(example, mention=_mention(example, mention))
    return replace(example, candidates=tuple(dict.fromkeys(candidates)))


def _mention(example: Example, wanted: str | tuple[int, int]) -> Mention | None:
    """What to link: token bounds, or words, which need not stand in the text; no words: the picture alone."""
    if isinstance(wanted, str) and not wanted.strip():
        return None
    try:
        span = _find(example, wanted, "mention")
    except DataError:
        if not isinstance(wanted, str):
            raise
        return Mention(wanted)
    first, last = example.offsets[span.start][0], example.offsets[span.end - 1][1]
    return Mention(wanted if isinstance(wanted, str) else example.text[first:last], span)


def _of_example(error: ImageError, examples: Iterable[Example]) -> ImageError:
    """The error with the example that its picture belongs to, and what may be done about it."""
    owners = (x.id for x in examples if any(image.path == error.where for image in x.images))
    owner = next(owners, None)
    return ImageError(
        error.what,
        where=error.where if owner is None else f"{owner}: {error.where}",
        hint=error.hint
        or "mend it, or put blank pictures in place of such: "
        '--missing-images blank, or missing_images = "blank" in Python',
    )


def _find(example: Example, wanted: str | tuple[int, int], role: str) -> Span:
    """Token bounds of the first place where `wanted` stands in the text as whole tokens."""
    if not isinstance(wanted, str):
        start, end = wanted
        if end > len(example.tokens):
            raise DataError(f"{role} ends at token {end} of {len(example.tokens)}", where=example.id)
        return Span(start, end, role)
    words, _ = tokenize(wanted)
    for start in range(len(example.tokens) - len(words) + 1 if words else 0):
        if list(example.tokens[start : start + len(words)]) == list(words):
            return Span(start, start + len(words), role)
    raise DataError(
        f"{role} {wanted!r} does not occur in the text as whole words",
        where=example.id,
        hint="tokens are: " + " | ".join(example.tokens),
    )


def describe(example: Example, prediction: Prediction, entities: Sequence[Entity] = ()) -> dict[str, Any]:
    """A prediction as JSON for people: with the words, and offsets in tokens and characters.

    `sources` are what annotators retrieved for it.

    Links carry the name and description that `entities`, a knowledge base, has for them.
    """
    result: dict[str, Any] = {"id": example.id, "text": example.text, "tokens": list(example.tokens)}
    result["images"] = [image.path for image in example.images if image.role == "photo"]
    if prediction.spans or not prediction.links:
        result["entities"] = [
            {**_span(example, span), "score": round(score, 6)}
            for span, score in zip(prediction.spans, prediction.span_scores, strict=True)
        ]
    if prediction.relations:
        result["relations"] = [
            {
                "head": _span(example, relation.head),
                "tail": _span(example, relation.tail),
                "label": relation.label,
                "score": round(score, 6),
            }
            for relation, score in zip(prediction.relations, prediction.relation_scores, strict=True)
        ]
    if prediction.links:
        result["mention"] = example.mention.text if example.mention is not None else ""
        result["links"] = [
            {"entity": id, **_named(id, entities), "score": round(score, 6)}
            for id, score in zip(prediction.links, prediction.link_scores, strict=True)
        ]
    if prediction.notes:
        result["notes"] = dict(prediction.notes)
    if SOURCES in example.notes:
        result["sources"] = example.notes[SOURCES]
    return result


def _named(id: str, entities: Sequence[Entity]) -> dict[str, str]:
    """Name and description of an entity, if it is known."""
    row = int(entities.rows([id])[0]) if isinstance(entities, KnowledgeBase) else -1
    if row < 0:
        return {}
    return {"name": entities[row].name, "description": entities[row].description}


def _span(example: Example, span: Span) -> Mapping[str, Any]:
    first, last = example.offsets[span.start][0], example.offsets[span.end - 1][1]
    return {
        "text": example.text[first:last],
        "label": span.label,
        "start": span.start,
        "end": span.end,
        "start_char": first,
        "end_char": last,
    }
