"""`mmkit.run.v1`: a trained run as an encoder, for models that build on other models."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from mmkit.batch import Batch, Features
from mmkit.data.types import Entity, Example, Image, TextView
from mmkit.decoders.abilities import ScoresLabels
from mmkit.decoders.base import Decoder, Labels
from mmkit.encoders.cut import Cut
from mmkit.encoders.item_encoder import ItemEncoder
from mmkit.encoders.items import BLANK, ItemSource, MissingImages
from mmkit.errors import PartError, RunError
from mmkit.model import Item, Model, assemble, pictures_read
from mmkit.recipe import Recipe
from mmkit.runs.folder import COMPLETE, Run


class RunItems(ItemSource[Example, Item]):
    """The source of a run: the whole example, with the views of the run's decoder."""

    def __init__(self, run: str) -> None:
        self.run = run
        self.model: Model

    def items(self, x: Example | Entity, missing: MissingImages) -> list[tuple[str, Example]]:
        """One item: a hash of everything that the run reads of the example, and the example."""
        example = self.one(x)
        views = sorted(self.model.decoder.views(example).items())
        keys = [key for source in self._sources() for key, _ in source.items(example, missing)]
        text = repr((views, keys)).encode("utf-8", "surrogatepass")
        return [(hashlib.blake2b(text, digest_size=16).hexdigest(), example)]

    def identity(self, x: Example | Entity) -> Hashable:
        """The views that its decoder makes of the example, and the items that its encoders read."""
        example = self.one(x)
        views = tuple(sorted(self.model.decoder.views(example).items()))
        return views, tuple(source.identity(example) for source in self._sources())

    def _sources(self) -> list[ItemSource[Any, Any]]:
        return [e.source for e in self.model.reading.values() if isinstance(e, ItemEncoder)]

    def one(self, x: Example | Entity) -> Example:
        """The example that the run makes from one. Raises `PartError` if it makes several, or `x` is an entity."""
        if isinstance(x, Entity):
            raise PartError("a run reads examples, not entities", where=self.run, code="expert.no-entities")
        units = self.model.decoder.units(x)
        if len(units) != 1:
            raise PartError(
                f"the run makes {len(units)} examples of one",
                where=x.id,
                hint="use a decoder that does so too",
                code="expert.several-units",
            )
        return units[0]

    def cut(self, x: Example) -> Cut | None:
        """What the run's encoder of words leaves unread or, without one, the first that leaves something."""
        found = self.model.items([self.one(x)])[0].cut.values()
        return next(iter(sorted(found, key=lambda cut: not cut.words)), None)

    def check_reads(self, kind: type[Example] | type[Entity]) -> None:
        if kind is Entity:
            raise PartError(
                "a run reads examples, not entities", hint="name another encoder", code="expert.no-entities"
            )

    def blank(self) -> Example:
        """An example without words. No item of a run is blank."""
        return Example.from_tokens(BLANK, ())

    def load(self, raw: Example) -> Item:
        """The example with its views, tokenised."""
        return self.model.items([raw])[0]

    def stack(self, loaded: Sequence[Item]) -> Features:
        """The inputs that the run's encoders collate from the items: `<encoder>/<input>`."""
        inputs = self.model.collate(loaded, targets=False).inputs
        return {f"{name}/{k}": v for name, own in inputs.items() for k, v in own.items()}

    def cost(self, raw: Example) -> int:
        return len(raw.text)


class RunEncoder(ItemEncoder):
    """A trained model that another model reads, such as an expert of a mixture.

    `run` is the folder that `mmkit train` wrote; its weights, labels and recipe are copied into the new run. `recipe`
    is the recipe that trains the run: messages name it, and with `--sample` it is trained first. The annotators of
    the run must be among the new recipe's annotators. The outputs of a frozen run are computed once for each example
    and stored; with `frozen = false` the run is trained too.

    Features, in one slot for each example: `pooled [B, 1, D]` of its fuser, and its decoder's scores (see
    `ScoresLabels.scores`): `emissions [B, 1, W, K]` with `lengths [B, 1]`, or `logits [B, 1, R]`.
    """

    provides = frozenset({"pooled", "mask"})
    version: ClassVar[str] = "mmkit.run.v1"
    is_run: ClassVar[bool] = True

    source: RunItems
    model: Model

    def __init__(
        self,
        run: str,
        *,
        recipe: str | None = None,
        frozen: bool = True,
        store: bool = True,
        feature_dtype: Literal["float32", "float16"] = "float32",
    ) -> None:
        super().__init__(RunItems(run), frozen=frozen, store=store, feature_dtype=feature_dtype)
        self.run, self.recipe = run, recipe

    # Building and saving

    def build(self, special_tokens: Sequence[str] = (), saved: Path | None = None) -> None:
        """Load the run, or build it without weights from the files that `save` wrote.

        Raises `PartError` if there is no such run, it is not complete, or another model cannot read it.
        """
        folder = Run(saved or self.run)
        if saved is None:
            self._check_complete(folder)
        self._trained_with = folder.recipe()
        self._check_readable(self._trained_with)
        if saved is None:
            self.model = folder.model(self._trained_with, missing=self.missing)
        else:
            self.model = assemble(
                self._trained_with, labels=folder.labels(), saved=saved, missing=self.missing
            )
        self.source.model = self.model
        assert isinstance(self.decoder, ScoresLabels), "_check_readable made sure"
        self.ragged = frozenset({"emissions"}) & self.decoder.score_names
        self.dim = self.model.fuser.dims["pooled"]

    def weight_bytes(self) -> int | None:
        file = Run(self.run).weights_file
        return file.stat().st_size if file.is_file() else None

    def build_tokenizer(self, special_tokens: Sequence[str] = ()) -> bool:
        return False

    @property
    def reads_pictures(self) -> bool:
        return any(encoder.reads_pictures for encoder in self.model.reading.values())

    def pictures_read(self, example: Example | Entity) -> Sequence[Image] | None:
        return pictures_read(self.model.reading.values(), self.source.one(example))

    def check_there(self) -> None:
        self._check_complete(Run(self.run))

    def _check_complete(self, run: Run) -> None:
        recipe = self.recipe or "its recipe"
        if not run.recipe_file.is_file():
            raise PartError(
                "there is no trained run here",
                where=self.run,
                hint=f"train it first: mmkit train {recipe} --output {self.run}",
                code="expert.no-run",
            )
        try:
            status = run.facts().get("status")
        except RunError:  # it is written first when training begins, last when it ends
            status = "unfinished"
        if status not in (*COMPLETE, "imported"):
            raise PartError(
                f"the run to build on is {status}",
                where=self.run,
                hint=f"finish it: mmkit train {run.recipe_file} --resume --output {self.run}",
                code="expert.unfinished-run",
            )

    def _check_readable(self, recipe: Recipe) -> None:
        decoder, fuser = recipe.build("model.decoder"), recipe.build("model.fuser")
        lacking = [
            what
            for what, there in (
                ("scores of labels", isinstance(decoder, ScoresLabels) and decoder.score_names),
                ("a sentence's vector (`pooled`)", "pooled" in fuser.provides),
            )
            if not there
        ]
        if lacking:
            raise PartError(
                f"the run gives no {' and no '.join(lacking)}, so another model cannot build on it",
                where=self.run,
                hint="taggers of words and classifiers of pairs give scores",
                code="expert.gives-nothing",
            )

    @property
    def decoder(self) -> Decoder:
        """The run's own."""
        return self.model.decoder

    def scoring_decoder(self) -> Decoder:
        return self.model.decoder

    @property
    def labels(self) -> Labels:
        """The run's own."""
        return self.model.labels

    def save(self, folder: Path) -> None:
        """Write the run's recipe, labels and encoders' configurations."""
        Run(folder).save_recipe(self._trained_with, self.model)

    def describe(self) -> dict[str, Any]:
        model: dict[str, Any] = self._trained_with.config["model"]
        encoders = {name: _as_before(settings) for name, settings in model["encoders"].items()}
        decoder = _as_before(model["decoder"])
        return {"model": {**model, "encoders": encoders, "decoder": decoder}, "labels": self.labels}

    def length(self, example: Example, views: Mapping[str, TextView]) -> int:
        """The length of the run's longest text."""
        return max((item.length for item in self.model.items([self.source.one(example)])), default=0)

    def network(self, items: Features) -> Features:
        """`pooled [N, D]` and the decoder's scores of collated items."""
        inputs: dict[str, Features] = {}
        for path, tensor in items.items():
            name, _, key = path.partition("/")
            inputs.setdefault(name, {})[key] = tensor
        states = self.model.fuser(self.model.named_encoders, Batch((), inputs))
        decoder = self.decoder
        assert isinstance(decoder, ScoresLabels), "build made sure"
        return {"pooled": states["pooled"], **decoder.scores(states)}


LATER = {
    "window_overlap": None,
    "attention_dropout": None,
    "drop_lone_spaces": False,
    "feature_precision": "fp32",
    "context_tags": "none",
}
"""Settings of encoders and decoders that earlier versions did not have, with the values that change nothing."""


def _as_before(settings: dict[str, Any]) -> dict[str, Any]:
    """A part's settings without those of `LATER` that change nothing: features stored earlier are found again."""
    return {k: v for k, v in settings.items() if k not in LATER or v != LATER[k]}
