"""The runs that a server was started with: loaded once, named, and asked by one thread."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import mmkit
from mmkit.data.inside import from_outside
from mmkit.data.reader import Reader
from mmkit.data.types import Entity, Example, Image
from mmkit.decoders.base import label_lists
from mmkit.errors import MMKitError
from mmkit.runs.folder import Run
from mmkit.runs.opening import address_of, open_run
from mmkit.tasks import Answer, LinkAnswer, Task
from mmkit_serve.errors import of_request
from mmkit_serve.logs import log
from mmkit_serve.requests import Question
from mmkit_serve.uploads import Upload

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Ask:
    """A question whose images are files."""

    question: Question
    uploads: tuple[Upload, ...] = ()


@dataclass(frozen=True)
class Told:
    """An answer, and its HTML."""

    answer: Answer
    html: str


@dataclass(frozen=True)
class ServedRun:
    """A loaded run. Only the thread that owns the models calls `told` and `entity`."""

    name: str
    predictor: mmkit.Predictor
    version: str
    """Of its files: equal versions predict the same."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    pictured_in: tuple[str, ...] = ()
    """The folders whose images of entities may be shown: a knowledge base may be a stranger's, and name any file."""

    @property
    def task(self) -> Task:
        """What it is asked and answers."""
        return self.predictor.task

    @property
    def links(self) -> bool:
        """Whether it answers with entities of a knowledge base."""
        return issubclass(self.task.answer_type, LinkAnswer)

    @property
    def batch_size(self) -> int:
        """The recipe's number of examples that are computed together."""
        return self.predictor.recipe.training.eval_batch_size

    def described(self) -> dict[str, Any]:
        """What the run is, as JSON: task, inputs, labels, versions, scores."""
        task, encoders = self.task.describe(), self.predictor.recipe.config["model"]["encoders"]
        return {
            "name": self.name,
            "version": self.version,
            "recipe": self.facts.get("recipe", ""),
            "trained_with": self.facts.get("versions", {}),
            "task": task["name"],
            "inputs": [{k: v for k, v in i.items() if k != "option"} for i in task["inputs"]],
            "answer": task["answer"],
            "labels": label_lists(self.predictor.model.labels),
            "encoders": {name: part.get("@encoders") for name, part in encoders.items()},
            "entities": len(self.predictor.model.entities) if self.links else 0,
            "scores": self.predictor.figures,
            "device": str(self.predictor.device),
        }

    def told(self, asks: Sequence[Ask], batch_size: int) -> list[Told | Exception]:
        """An answer, or the error, for each question, computed in batches of similar lengths.

        If a batch fails, its questions are asked one by one, so that one cannot spoil the others.
        """
        found: dict[int, Told | Exception] = {}
        examples: list[tuple[int, Example]] = []
        for i, ask in enumerate(asks):
            try:
                examples.append((i, self._example(ask)))
            except Exception as error:  # a part of a plugin's may raise anything
                found[i] = of_request(error, ask.question.where, "input")
        try:
            found |= self._told(asks, examples, batch_size)
        except Exception as error:
            if len(examples) == 1:
                i, example = examples[0]
                found[i] = of_request(error, asks[i].question.where, example.id)
            for i, example in examples if len(examples) > 1 else ():
                try:
                    found |= self._told(asks, [(i, example)], 1)
                except Exception as own:
                    found[i] = of_request(own, asks[i].question.where, example.id)
        return [found[i] for i in range(len(asks))]

    def entity(self, id: str) -> Entity | None:
        """An entity of the knowledge base; None if it is not there."""
        entities: Any = self.predictor.model.entities
        if not self.links or id not in entities:
            return None
        entity: Entity = entities[int(entities.rows([id])[0])]
        return entity

    def picture(self, entity: Entity) -> Image | None:
        """The image of an entity that is shown; None if it has none in the folders `pictured_in`, which is logged."""
        images = [image for image in entity.images if image.path]
        if outside := from_outside((image.path for image in images), self.pictured_in):
            log(
                "entity_image_outside",
                level=logging.WARNING,
                run=self.name,
                entity=entity.id,
                images=len(outside),
            )
        return next((image for image in images if image.path not in outside), None)

    def _example(self, ask: Ask) -> Example:
        paths = [upload.path for upload in ask.uploads]
        question = ask.question
        example = self.predictor.example(question.text, paths, **question.given)
        return replace(example, id=question.id)

    def _told(
        self, asks: Sequence[Ask], examples: Sequence[tuple[int, Example]], batch_size: int
    ) -> dict[int, Told]:
        streamed = self.predictor.stream([example for _, example in examples], batch_size)
        told = {}
        for (i, _), (example, prediction) in zip(examples, streamed, strict=True):
            answer = self.predictor.answer(_named(example, asks[i].uploads), prediction)
            told[i] = Told(answer, self.task.html(answer))
        return told


def _named(example: Example, uploads: Sequence[Upload]) -> Example:
    """The example with uploads' names for paths; other files of the server's keep only their own names."""
    names = {str(upload.path): upload.name for upload in uploads}

    def named(image: Image) -> Image:
        return replace(image, path=names.get(image.path, Path(image.path).name)) if image.path else image

    return replace(example, images=tuple(map(named, example.images)))


def load_runs(
    wanted: Sequence[str],
    device: str = "auto",
    *,
    entities: Path | None = None,
    pictures: Sequence[Path] = (),
    allow_network: bool = False,
) -> dict[str, ServedRun]:
    """Load runs by their folders, or `NAME=FOLDER`.

    Those that link do so to the entities in the jsonlines file `entities`, if it is given. Images of entities are shown
    if they are in the folder of that file, in those that the run's recipe names, or in `pictures`. Raises
    `MMKitError` for names that clash or no address can have, and for `entities` if no run links.
    """
    runs, linking = {}, 0
    for name, folder in dict(_names(wanted)).items():
        run = Run(folder)
        task: Task = run.recipe().build("model.decoder").task
        linking += task.reads_entities
        own = entities if task.reads_entities else None
        predictor = mmkit.load(
            folder, device, own, allow_network=allow_network
        )  # it checks the folder's files
        facts = run.facts_if_any()
        shown = (*_pictured_in(predictor.recipe, own), *map(str, pictures)) if task.reads_entities else ()
        runs[name] = ServedRun(name, predictor, version_of(folder, facts), facts, shown)
    if entities is not None and not linking:
        raise MMKitError(
            "none of these runs links, so entities mean nothing to them",
            where=entities,
            hint="leave out --entities",
            code="serve.no-linker",
        )
    return runs


def _pictured_in(recipe: mmkit.Recipe, entities: Path | None) -> list[str]:
    """The folders of a knowledge base and of its images, as the user or the recipe says them."""
    if entities is not None:
        return [str(entities.parent)]
    if "entities" not in recipe.parts("data"):
        return []
    reader: Reader = recipe.build("data.entities")
    return reader.picture_folders()


def _names(wanted: Sequence[str]) -> Iterator[tuple[str, Path]]:
    seen: dict[str, str] = {}
    for word in wanted:
        name, equals, path = word.partition("=")
        if not equals or not _NAME.fullmatch(name):  # a folder may have = in its name
            address = address_of(word).partition("@")[0].rstrip("/")
            name, path = address.rpartition("/")[2] or Path(word).resolve().name, word
        if not _NAME.fullmatch(name):
            raise MMKitError(
                f"a run cannot be called {name!r} in an address",
                where=word,
                hint=f"give it a name: demo={word}",
                code="serve.run-name",
            )
        if name in seen:
            raise MMKitError(
                f"two runs are called {name!r}: {seen[name]} and {path}",
                where="RUN",
                hint=f"give them names: first={seen[name]} second={path}",
                code="serve.run-name",
            )
        seen[name] = path
        yield name, open_run(path)


def version_of(folder: Path, facts: Mapping[str, Any]) -> str:
    """Twelve hexadecimal digits that change if a file of the run does that predictions depend on."""
    known = facts.get("files")
    if isinstance(known, dict) and known:
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:12]
    with (folder / "model.safetensors").open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]
