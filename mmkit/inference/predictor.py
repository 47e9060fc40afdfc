"""Prediction with a trained run: one sentence with its images, or a stream of examples."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from mmkit.access.network import without_network
from mmkit.data.types import Entity, Example, Image, Prediction
from mmkit.decoders.engines import SETTING
from mmkit.encoders.base import Encoder
from mmkit.encoders.items import MissingPolicy
from mmkit.errors import DataError, ImageError
from mmkit.files import without_root
from mmkit.inference.about import about
from mmkit.inference.columns import Request, requests
from mmkit.inference.devices import pick_device, pick_precision
from mmkit.inference.given_images import GivenImages, Picture, check_several
from mmkit.inference.inference import Inference
from mmkit.inference.loader import pick_threads
from mmkit.inference.prepare import prepare_model
from mmkit.inspection import Inspection
from mmkit.loading.annotation import Annotation
from mmkit.model import Item, Model
from mmkit.recipe import Recipe
from mmkit.runs.folder import Run
from mmkit.runs.opening import open_run
from mmkit.tasks import Answer, JointTask, LinkAnswer, LinkTask, SpanTask, Task
from mmkit.tasks.answers import Answers
from mmkit.tasks.link import BEST, Link
from mmkit.tasks.sentence import is_missing

T = TypeVar("T")

CHUNK = 1024
"""Examples of a stream that are batched by length together; memory does not depend on the stream's length."""

MOST_BYTES = 256_000_000
"""Size of the images from memory that are kept in files at a time."""


def load(
    run: str | Path,
    device: str = "auto",
    entities: str | Path | None = None,
    *,
    search: str | Mapping[str, Any] | None = None,
    allow_network: bool = False,
) -> Predictor:
    """Load a trained run folder for prediction. Raises `RunError` if it is incomplete or damaged.

    `run` is the folder, or an address that a plugin opens: `hf://user/name@revision` with mmkit-hub. An address that
    you name may be asked for; this does not depend on `allow_network`.

    A linker links to the knowledge base of its recipe, or to the one in `entities`, a jsonlines file. `search` replaces
    how it finds entities there, `[model.decoder] search` of its recipe: `"exact"`, or a search engine.
    The folder may be somebody else's: servers that its recipe names, and the Hugging Face Hub, are contacted only with
    `allow_network`; without it, a run that needs them raises `PartError`.
    """
    return Predictor.from_run(run, device, entities, search=search, allow_network=allow_network)


def searching(recipe: Recipe, search: str | Mapping[str, Any]) -> Recipe:
    """The recipe of a linker, with another `search`. Raises `DataError` for a model that does not link."""
    if not recipe.build("model.decoder").task.reads_entities:
        raise DataError(
            "this model answers from no knowledge base, so it searches in none",
            where=recipe.path,
            hint="leave out --search",
            code="input.not-for-task",
        )
    return recipe.with_overrides({SETTING: search})


class Predictor:
    """A trained model ready to predict. Made by `mmkit.load(run)`.

    An image that is missing or broken is an error unless `missing_images` is set to "blank".
    """

    def __init__(
        self, model: Model, recipe: Recipe, device: str = "auto", *, allow_network: bool = False
    ) -> None:
        self.allow_network = allow_network
        """Whether the run's annotators may contact the servers that its recipe names."""
        self.notes: list[str] = []
        """What there was to tell when the model was made ready: that a search engine got entities, for instance."""
        self.device = pick_device(device)
        self.model = model.to(self.device).eval()
        self.recipe = recipe
        self.precision = pick_precision(recipe.training.precision, self.device, self.model)
        with self._network():
            self.annotation = Annotation.of(recipe, str(self.device), writing=False)
            prepare_model(self.model, {}, recipe.training, note=self.notes.append)
        for part in self.model.modules():
            if isinstance(part, Encoder):
                part.expect_new()
        threads = pick_threads(recipe.training.workers, self.model)
        self.inference = Inference(
            self.model, self.precision, recipe.training.eval_batch_size, threads=threads
        )
        self.missing_images = "error"
        self.figures: Mapping[str, Mapping[str, float]] = {}
        """The run's scores by split (`{"dev": {"spans.f1": 0.7}}`); empty for a model without a run folder."""

    def _network(self) -> AbstractContextManager[None]:
        """What is around all that is done for the run. Nothing is yielded within it."""
        return without_network(self.recipe.path.parent, allow=self.allow_network)

    @classmethod
    def from_run(
        cls,
        run: str | Path,
        device: str = "auto",
        entities: str | Path | None = None,
        *,
        search: str | Mapping[str, Any] | None = None,
        allow_network: bool = False,
    ) -> Predictor:
        """Load a run folder; see `mmkit.load`."""
        folder = Run(open_run(run))
        recipe = folder.recipe()
        if search is not None:
            recipe = searching(recipe, search)
        if entities is not None:
            recipe.build("model.decoder").task.check_entities(entities)
        other = None if entities is None else Path(entities)
        model = folder.model(recipe, other, allow_network=allow_network)
        predictor = cls(model, recipe, device, allow_network=allow_network)
        predictor.figures = folder.figures()
        return predictor

    @property
    def missing_images(self) -> MissingPolicy:
        """How images that cannot be read are treated: "error" or "blank"."""
        return self.model.missing.policy

    @missing_images.setter
    def missing_images(self, policy: MissingPolicy) -> None:
        self.model.missing.policy = policy

    @property
    def replaced(self) -> dict[str, str]:
        """The images that were replaced by blank ones so far, and why."""
        return self.model.missing.replaced

    @property
    def task(self) -> Task:
        """The decoder's task: what the model is asked and what it answers."""
        return self.model.decoder.task

    def __repr__(self) -> str:
        return about(self.recipe, self.model, self.device, self.figures)

    def predict(
        self,
        text: str | Sequence[str],
        images: Iterable[Picture] | None = (),
        **given: Any,
    ) -> Answer:
        """Extract from one sentence (a string, or its tokens) and its images.

        An image is a path, an `Image`, Pillow's image, the bytes of a file or a NumPy array (`[H, W]`, `[H, W, 3]` or
        `[H, W, 4]` of uint8); None and NaN are no image.
        Other inputs of the model's task are given by name (`task.inputs` lists them): `head` and `tail`, the pair for
        a relation classifier (words of the text, or token bounds [start, end)); `mention`, which a linker links, and
        `candidates`, the ids of entities to choose from. The answer has the task's fields, such as `entities`, and
        `to_dict()`. Raises `DataError` for a request that this model cannot answer, or an image that cannot be read.
        """
        if not is_missing(images):
            check_several(images, "input")
        return next(self._answers(iter([Request("input", text, images, given)]), None))

    def predict_many(
        self,
        texts: Iterable[str | Sequence[str]],
        images: Iterable[Picture | Sequence[Picture]] | None = None,
        *,
        batch_size: int | None = None,
        **given: Iterable[Any],
    ) -> Answers:
        """Extract from many texts: one answer for each, in order, computed in batches of similar lengths.

        `texts` and `images` are lists, generators, or columns of pandas, polars, pyarrow or Hugging Face datasets; they
        are read as the answers are taken, 1,024 texts at a time, so that memory does not grow. For each text, `images`
        has an image (see `predict`), a list of images, or None or NaN for none. Other inputs of the task are columns
        too: `mention=[...]`. `batch_size` is by default the recipe's `eval_batch_size`. The answers' ids are
        `input-0`, `input-1`, ...; images from memory have names such as `image 0 of input-1 (in memory)`.

        Raises `DataError` for columns that cannot be read or have different lengths, for a text that is missing, and
        for what `predict` refuses; the message names the id. Its answers have `to_frame()`.
        """
        if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1):
            raise DataError(
                f"batch_size must be a whole number of at least 1, not {batch_size!r}",
                where="predict_many",
                hint="leave it out to use the recipe's eval_batch_size",
                code="input.batch-size",
            )
        self.task.check_names(given, "predict_many")
        return Answers(self._answers(requests(texts, images, given), batch_size), self.task.answer_type)

    def _answers(self, asked: Iterator[Request], batch_size: int | None) -> Iterator[Answer]:
        """The answers to requests, in order, lazily, in bounded memory."""
        ended = False
        while not ended:
            with GivenImages() as pictures:
                examples = []
                for id, text, images, given in asked:
                    own = pictures.of(images, id)
                    examples.append(self.task.example(text, own, given, self.model.entities, id))
                    if len(examples) == CHUNK or pictures.bytes > MOST_BYTES:
                        break
                else:
                    ended = True
                with pictures.named_in_messages(self.replaced):
                    for example, prediction in self.stream(examples, batch_size):
                        yield self.answer(pictures.named(example), prediction)

    def answer(self, example: Example, prediction: Prediction) -> Answer:
        """The answer of a prediction, with words and names, and what the model did not look at."""
        answer = self.task.answer(example, prediction, self.model.entities)
        unseen = self.model.unseen(example)
        if not unseen.looks and self.annotation.over("examples"):
            return answer  # an annotator may have looked at the images
        photos = [i for i, image in enumerate(example.images) if image.role == "photo"]
        left = tuple(photos.index(i) for i in unseen.left if i in photos)
        return replace(answer, unread_images=left, without_image=unseen.blank)

    def link(
        self,
        text: str | Sequence[str],
        mention: str | tuple[int, int],
        images: Iterable[Picture] | None = (),
        *,
        candidates: Sequence[str] = (),
        top: int = BEST,
    ) -> tuple[Link, ...]:
        """The entities that a mention most likely refers to, best first.

        `mention` is words (which need not occur in the text) or token bounds [start, end). The entities are chosen
        among `candidates` (ids), or those that the recipe's annotator proposes, or the whole knowledge base. Raises
        `DataError` if this model does not link, or a candidate is not in its knowledge base.
        """
        found = self.predict(text, images, mention=mention, candidates=candidates)
        if not isinstance(found, LinkAnswer):
            raise DataError(
                f"the task {self.task.name!r} has no links in its answers",
                hint="use predict(), whose answer has the task's own fields",
                code="input.not-for-task",
            )
        return found.links[:top]

    def example(
        self,
        text: str | Sequence[str],
        images: Sequence[str | Path | Image | None] | None = (),
        **given: Any,
    ) -> Example:
        """An example of a user's own sentence, with the inputs of this model's task; see `predict`."""
        return self.task.example(text, images, given, self.model.entities)

    def predict_batch(self, examples: Iterable[Example]) -> list[Prediction]:
        """Predictions in the order of `examples` (of their units, if the decoder splits them)."""
        return [prediction for _, prediction in self.stream(examples)]

    def stream(
        self, examples: Iterable[Example], batch_size: int | None = None
    ) -> Iterator[tuple[Example, Prediction]]:
        """(example, prediction) in order, lazily, in bounded memory."""
        return self._streamed(examples, partial(self.inference.predict, batch_size=batch_size))

    def inspect(
        self, examples: Iterable[Example], batch_size: int | None = None
    ) -> Iterator[tuple[Example, Prediction, Inspection]]:
        """As `stream`, and what the parts show of each example: `{}` if none can (`mmkit.inspection.Inspects`).

        Tables and predictions come from the same forward pass.
        """
        found = self._streamed(examples, partial(self.inference.inspect, batch_size=batch_size))
        return ((example, prediction, tables) for example, (prediction, tables) in found)

    def _streamed(
        self, examples: Iterable[Example], infer: Callable[[Sequence[Item]], Sequence[T]]
    ) -> Iterator[tuple[Example, T]]:
        """What `infer` finds of each example's items, in order, lazily."""
        remaining = iter(examples)
        while chunk := list(itertools.islice(remaining, CHUNK)):
            for example in chunk:
                self.task.check_input(example)
            with self._network():
                chunk = self.annotation.annotated(chunk, self.model.entities)
                items = self.model.items(chunk)
                try:
                    found = infer(items)
                except ImageError as error:
                    raise _of_example(error, chunk) from error
            for item, each in zip(items, found, strict=True):
                yield item.example, each


def _of_example(error: ImageError, examples: Iterable[Example]) -> ImageError:
    """The error with the example of the image, and how to do without the image."""
    paths = ((x.id, image.path) for x in examples for image in x.images if image.path is not None)
    owner = next((id for id, path in paths if error.where in (path, without_root(path))), None)
    return error.at(error.where if owner is None else f"{owner}: {error.where}", or_blank(error.hint))


def or_blank(hint: str) -> str:
    """What to do about an image that cannot be read, beside `hint`: how to do without it."""
    blank = 'use blank images instead: --missing-images blank, or missing_images = "blank" in Python'
    return f"{hint}\n  → or {blank}" if hint else f"fix it, or {blank}"


def or_elsewhere(hint: str) -> str:
    """A hint of `or_blank` about a missing image that a file names, whose folder may have to be given."""
    about_its_place = hint == or_blank("") or hint.startswith("the folder ")
    return f"{hint}\n  → or name the folder of the images: --images FOLDER" if about_its_place else hint


def describe(example: Example, prediction: Prediction, entities: Sequence[Entity] = ()) -> dict[str, Any]:
    """A prediction as JSON, in the form that fits its content, if the model is not available.

    `Predictor.answer` gives it in the form of the model's own task.
    """
    task = LinkTask() if prediction.links else JointTask() if prediction.relations else SpanTask()
    return task.answer(example, prediction, entities).to_dict()
