"""The assembled model: encoders → fuser → decoder."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mmkit.batch import Batch, States
from mmkit.data.types import Entity, Example, GoldRank, Image, Prediction, TextView
from mmkit.decoders.abilities import AnswersTogether, RanksGold
from mmkit.decoders.base import Decoder, Labels
from mmkit.encoders.base import Encoder
from mmkit.encoders.cut import Cut
from mmkit.encoders.item_encoder import ItemEncoder
from mmkit.encoders.items import MissingImages
from mmkit.encoders.sharing import sharing
from mmkit.entities.side import EntitySide
from mmkit.errors import PartError, from_files, gathered
from mmkit.fit import Parts, check_causal, fitting_parts
from mmkit.fusers.base import Fuser
from mmkit.fusers.checked import checked_states
from mmkit.inspection import Inspects, Table, inspected
from mmkit.model_entities import build_entity_encoders, build_entity_side, of_other_run

if TYPE_CHECKING:
    from mmkit.recipe import Recipe

__all__ = ["Item", "Model", "Parts", "assemble", "fitting_parts"]


@dataclass(frozen=True, slots=True)
class Item:
    """An example with facts that are computed once: the decoder's views and its length in subwords.

    `question` is the example without what is to be found. To predict, the decoder sees only this.
    """

    example: Example
    question: Example
    views: Mapping[str, TextView]
    length: int
    cut: Mapping[str, Cut] = field(default_factory=dict)
    """By encoder, what it leaves unread of the example's texts."""


def make_items(decoder: Decoder, encoders: Mapping[str, Encoder], examples: Iterable[Example]) -> list[Item]:
    """What is worked out once for each example (for each of its units, if the decoder splits it).

    `encoders` are those that read examples; of these only tokenizers are asked.
    """
    result = []
    for example in examples:
        for unit in decoder.units(example):
            question = decoder.task.question(unit)
            views = decoder.views(question)
            length = max((encoder.length(unit, views) for encoder in encoders.values()), default=0)
            cut = {n: lost for n, e in encoders.items() if (lost := e.cut(question, views)) is not None}
            result.append(Item(unit, question, views, length, cut))
    return result


def unseen(encoders: Iterable[Encoder], example: Example | Entity) -> Unseen:
    """What the encoders do not look at of an example's images; nothing where one does not say what it looks at.

    An image is looked at where a box of it is.
    """
    encoders = list(encoders)
    read = pictures_read(encoders, example)
    if read is None:
        return Unseen()
    looks = any(encoder.reads_pictures for encoder in encoders)
    parts = {image.path for image in read if image.box is not None}
    left = tuple(
        i
        for i, image in enumerate(example.images)
        if image.path is not None and image.path not in parts and image not in read
    )
    return Unseen(looks, left, looks and not read)


def pictures_read(encoders: Iterable[Encoder], example: Example | Entity) -> Sequence[Image] | None:
    """Those of an example's images that some of the encoders look at, in order; None if one does not say."""
    seen: list[Image] = []
    for encoder in encoders:
        own = encoder.pictures_read(example)
        if own is None:
            return None
        seen += own
    return [image for image in example.images if image in seen]


@dataclass(frozen=True, slots=True)
class Unseen:
    """What a model does not look at of an example's images."""

    looks: bool = False
    """Whether it looks at images at all."""
    left: tuple[int, ...] = ()
    """Images that it does not look at, by their place in the example's `images`."""
    blank: bool = False
    """Whether it looks at images and has none, so that a blank one stands in."""


class Model(nn.Module):
    """Encoders, a fuser and a decoder that fit together; made by `assemble`."""

    def __init__(
        self,
        encoders: Mapping[str, Encoder],
        fuser: Fuser,
        decoder: Decoder,
        labels: Labels,
        entities: Sequence[Entity] = (),
        entity_side: EntitySide | None = None,
        missing: MissingImages | None = None,
    ) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict(encoders)
        self.fuser = fuser
        self.decoder = decoder
        self._with_encoders = frozenset(
            name
            for name in ("loss", "decode")
            if "encoders" in inspect.signature(getattr(decoder, name)).parameters
        )
        self.labels = labels
        self.entities = entities
        self.entity_side = entity_side
        """In a model that links: the parts that make entities comparable with queries."""
        self.compiled = False
        """Whether some of its encoders are compiled."""
        self.missing = missing or MissingImages()
        """How missing images are treated; the encoders have the same object."""
        self._checked = False

    @property
    def named_encoders(self) -> dict[str, Encoder]:
        """The encoders by name, as the fuser takes them."""
        return dict(self.encoders.items())  # type: ignore[arg-type]

    @property
    def reading(self) -> dict[str, Encoder]:
        """The encoders that read examples: all but one that only reads the knowledge base."""
        lent = {} if self.entity_side is None else self.entity_side.lent
        return {n: e for n, e in self.named_encoders.items() if n not in lent}

    @property
    def entity_encoders(self) -> dict[str, Encoder]:
        """The encoders of `[model.entities]`, which read entities alone."""
        return {} if self.entity_side is None else self.entity_side.own_encoders

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def items(self, examples: Iterable[Example]) -> list[Item]:
        """One `Item` for each example (for each of its units, if the decoder splits it)."""
        return make_items(self.decoder, self.reading, examples)

    def unseen(self, example: Example) -> Unseen:
        """The images of an example that the model does not look at."""
        return unseen(self.reading.values(), example)

    def collate(self, items: Sequence[Item], targets: bool = True, multiple: int = 1) -> Batch:
        """A batch on the CPU; runs in a loader worker. Without `targets`, its examples have no gold answers.

        Lengths of texts are padded to multiples of `multiple`, as far as encoders can (see `Encoder.lengthen`).
        """
        views = [item.views for item in items]
        questions = self.shown(items, False)  # an encoder reads the same in training as later
        inputs = {name: encoder.collate(questions, views) for name, encoder in self.reading.items()}
        if multiple > 1:
            inputs = {name: self.reading[name].lengthen(own, multiple) for name, own in inputs.items()}
        if not targets:
            return Batch(questions, inputs)
        examples = self.shown(items, True)
        return Batch(examples, inputs, self.decoder.targets(examples, inputs))

    def shown(self, items: Sequence[Item], targets: bool) -> tuple[Example, ...]:
        """The examples of a batch: without `targets` only the questions."""
        return tuple(item.example if targets else item.question for item in items)

    def states(self, batch: Batch) -> States:
        """The fuser's states for a batch that is on the model's device.

        Raises `PartError` at the first batch if a
        part does not give what it declares.
        """
        if self._checked:
            states: States = self.fuser(self.named_encoders, batch)
            return states
        watched = not (self.compiled and self.training)
        states = checked_states(self.named_encoders, self.fuser, batch, watched=watched)
        self._checked = watched
        return states

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Named losses of a batch with targets, each a mean over its examples; the fuser's own are among them."""
        states = self.states(batch)
        return {**states.losses, **self.decoder.loss(states, batch.targets, **self._asked_for("loss"))}

    def predict(self, batch: Batch) -> list[Prediction]:
        """Predictions for a batch that is on the model's device; call it in evaluation mode."""
        with torch.inference_mode():
            return self.answers(self.states(batch), batch)[0]

    def predict_and_rank(
        self, batch: Batch, gold: Sequence[Example]
    ) -> tuple[list[Prediction], list[GoldRank | None]]:
        """`predict`, and the ranks of the gold entities in `gold` if the decoder ranks, from one forward pass."""
        with torch.inference_mode():
            return self.answers(self.states(batch), batch, gold)

    def answers(
        self, states: States, batch: Batch, gold: Sequence[Example] | None = None
    ) -> tuple[list[Prediction], list[GoldRank | None]]:
        """Predictions from the states of a batch, and the ranks of the entities in `gold`, if they are asked for.

        The batch needs no inputs where the decoder kept the states (see `AnswersTogether`).
        """
        decoder = self.decoder
        first = isinstance(decoder, AnswersTogether)  # one search finds ranks and predictions
        ranks = self._ranks(states, gold) if first else []
        predictions = decoder.decode(states, batch, **self._asked_for("decode"))
        return predictions, (ranks if first else self._ranks(states, gold)) or [None] * len(batch)

    def _ranks(self, states: States, gold: Sequence[Example] | None) -> list[GoldRank | None]:
        """Empty if the decoder does not rank, or nobody asks."""
        if gold is None or not isinstance(self.decoder, RanksGold):
            return []
        return list(self.decoder.rank(states, gold))

    def inspect(self, batch: Batch) -> tuple[list[Prediction], list[dict[str, Table]]]:
        """`predict`, and the tables of the parts that show what they did, from one forward pass.

        Raises `PartError` for a part whose tables do not fit the batch.
        """
        with torch.inference_mode():
            batch = replace(batch, inspecting=True)
            states = self.states(batch)
            predictions = self.decoder.decode(states, batch, **self._asked_for("decode"))
            return predictions, inspected(self._inspected_parts, states, batch)

    @property
    def inspectable(self) -> bool:
        """Whether a part shows what it did (`mmkit.inspection.Inspects`)."""
        return any(isinstance(part, Inspects) for part in self._inspected_parts)

    @property
    def _inspected_parts(self) -> list[nn.Module]:
        side = self.entity_side
        return [self.fuser, self.decoder, *([] if side is None else side.scorers)]

    def _asked_for(self, method: str) -> dict[str, dict[str, Encoder]]:
        """The encoders, if this method of the decoder has a parameter `encoders`."""
        return {"encoders": self.named_encoders} if method in self._with_encoders else {}

    def compile_encoders(self) -> None:
        """Compile the encoders that run in every batch; loops over words in a decoder would only be unrolled."""
        for name, encoder in self.reading.items():
            if name not in self.item_encoders():
                encoder.compile(dynamic=True)
        self.compiled = True

    def item_encoders(self) -> dict[str, ItemEncoder]:
        """The encoders whose outputs for examples are stored: frozen, and of separate items."""
        return {
            name: encoder
            for name, encoder in self.reading.items()
            if isinstance(encoder, ItemEncoder) and encoder.frozen and encoder.store
        }


def assemble(
    recipe: Recipe,
    *,
    parts: Parts | None = None,
    examples: Iterable[Example] | None = None,
    labels: Labels | None = None,
    entities: Sequence[Entity] = (),
    saved: Path | None = None,
    fetch_frozen: bool = False,
    missing: MissingImages | None = None,
    folders: Mapping[str, Path] = MappingProxyType({}),
) -> Model:
    """Build a recipe's model. The initial weights of each part depend only on the recipe's seed and the part's name.

    `parts`, if given, are the recipe's own. Labels are learnt from `examples` unless given. With `saved` (a run
    folder) backbones are built from the configuration kept there and nothing is fetched; the caller loads the weights.
    `fetch_frozen` makes an exception of frozen encoders: they are built by name, with their weights.
    `folders` are those of single encoders, by section, that are built as from `saved`, from another run's files: also
    of these the caller loads the weights, and nobody is contacted for them.
    Missing images are as the recipe says, unless `missing`, which all encoders of items share, is given.
    Raises `RecipeError` where parts do not fit, `PartError` where one cannot be made; of encoders, all that cannot.
    """
    parts = parts or fitting_parts(recipe)
    encoders, fuser, decoder, side = parts.encoders, parts.fuser, parts.decoder, parts.entity_side
    if labels is None:
        if examples is None:
            raise ValueError("assemble needs examples to learn labels from, or the labels")
        labels = decoder.fit(examples)
    missing = missing or MissingImages(recipe.config["data"]["missing_images"])
    errors: list[PartError] = []
    with sharing():
        for name, encoder in encoders.items():
            if isinstance(encoder, ItemEncoder):
                encoder.missing = missing
            _seed(recipe, f"encoders.{name}")
            folder = saved / "encoders" / name if saved else None
            folder = None if encoder.frozen and fetch_frozen else folder
            begun = folders.get(f"model.encoders.{name}")
            try:
                with from_files(begun or folder, f"the encoder {name!r}"), of_other_run(begun):
                    encoder.build(decoder.special_tokens, begun or folder)
            except PartError as error:
                errors.append(error.at(error.where or f"{recipe.path}: [model.encoders.{name}]"))
            if encoder.frozen:
                encoder.requires_grad_(False)
        if side is not None:
            errors += build_entity_encoders(
                side,
                recipe,
                encoders,
                decoder.special_tokens,
                saved,
                fetch_frozen,
                missing,
                partial(_seed, recipe),
                folders,
            )
    if errors:
        raise gathered(errors)
    check_causal(parts)
    _seed(recipe, "fuser")
    with from_files(saved, "the fuser"):
        fuser.build(encoders)
        if side is not None:
            build_entity_side(side, recipe, fuser, partial(_seed, recipe))
    _seed(recipe, "decoder")
    with from_files(saved and saved / "labels.json", "the decoder"):
        decoder.build(fuser.dims, labels, entities)
        decoder.connect(encoders)
    return Model(encoders, fuser, decoder, labels, entities, side, missing)


def _seed(recipe: Recipe, part: str) -> None:
    """Seed torch for one part, so that its initial weights do not depend on the recipe's other parts."""
    digest = hashlib.blake2b(f"{recipe.seed} {part}".encode(), digest_size=7).digest()
    torch.manual_seed(int.from_bytes(digest, "big"))
