"""Prediction with a trained run: one sentence with its pictures, or a stream of examples."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmkit.annotators.base import Annotator
from mmkit.annotators.run import annotate
from mmkit.data.tokenize import tokenize
from mmkit.data.types import Example, Image, Prediction, Relation, Span
from mmkit.encoders.base import ItemEncoder, MissingImages
from mmkit.errors import DataError, ImageError
from mmkit.model import Model
from mmkit.recipe import Recipe
from mmkit.run import Run
from mmkit.training.devices import pick_device, pick_precision
from mmkit.training.evaluation import predict_items

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
        self.missing_images = "error"

    @classmethod
    def from_run(cls, run: str | Path, device: str = "auto") -> Predictor:
        """Load a run folder. Raises `RunError` if it is incomplete or damaged."""
        folder = Run(run)
        recipe = folder.recipe()
        return cls(folder.model(recipe), recipe, device)

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
    ) -> dict[str, Any]:
        """Extract from one sentence (a string, or its tokens) and its pictures.

        `head` and `tail` are the pair for a relation classifier: words of the text, or token bounds [start, end).
        Returns JSON: `text`, `tokens`, and `entities`, `relations`, `links` as the model gives them; entities carry
        `start`/`end` in tokens, `start_char`/`end_char` in characters, both end exclusive, and a score.
        Raises `DataError` for a pair that is not in the text or a picture that cannot be read.
        """
        example = self.example(text, images, head, tail)
        return describe(example, next(self.stream([example]))[1])

    def example(
        self,
        text: str | Sequence[str],
        images: Sequence[str | Path | Image] = (),
        head: str | tuple[int, int] | None = None,
        tail: str | tuple[int, int] | None = None,
    ) -> Example:
        """An example of a user's own sentence, with a pair exactly if this model classifies pairs."""
        example = make_example(text, images, head, tail)
        if example.relations and not self.model.decoder.pairs:
            raise DataError(
                "this model classifies no pairs, so head and tail mean nothing to it",
                where=example.id,
                hint="leave out --head and --tail",
            )
        if self.model.decoder.pairs and not example.relations:
            raise DataError(
                "there is no pair of spans to classify",
                where=example.id,
                hint="give words of the text as --head and --tail",
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
    id: str = "input",
) -> Example:
    """An example from a user's own sentence; see `Predictor.predict`."""
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
    if not example.tokens:
        raise DataError("the text has no words", where=id, hint="give a sentence")
    if (head is None) != (tail is None):
        raise DataError("a pair needs both head and tail", where=id, hint="give --head and --tail")
    if head is None or tail is None:
        return example
    pair = Relation(_find(example, head, "head"), _find(example, tail, "tail"))
    return Example(id, example.text, example.tokens, example.offsets, pictures, relations=(pair,))


def _of_example(error: ImageError, examples: Iterable[Example]) -> ImageError:
    """The error with the example that its picture belongs to, and what may be done about it."""
    owners = (x.id for x in examples if any(image.path == error.where for image in x.images))
    owner = next(owners, None)
    return ImageError(
        error.what,
        where=error.where if owner is None else f"{owner}: {error.where}",
        hint=error.hint or "mend it, or put blank pictures in place of such: --missing-images blank",
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


def describe(example: Example, prediction: Prediction) -> dict[str, Any]:
    """A prediction as JSON for people: with the words, and offsets in tokens and characters."""
    result: dict[str, Any] = {"id": example.id, "text": example.text, "tokens": list(example.tokens)}
    result["images"] = [image.path for image in example.images if image.role == "photo"]
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
        result["links"] = [
            {"entity": entity, "score": round(score, 6)}
            for entity, score in zip(prediction.links, prediction.link_scores, strict=True)
        ]
    if prediction.notes:
        result["notes"] = dict(prediction.notes)
    return result


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
