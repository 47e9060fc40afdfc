"""What one process does: parts of shards become files of predictions, and the parts of a shard become one file."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count, islice
from pathlib import Path
from typing import IO, Any

from mmkit.data.answers import silver
from mmkit.data.convert import folder_of, moved
from mmkit.data.crops import under
from mmkit.data.image_paths import why_missing
from mmkit.data.inside import from_outside
from mmkit.data.jsonlines import read_jsonl, write_jsonl
from mmkit.data.types import Example, Prediction
from mmkit.data.writer import Writer
from mmkit.errors import DataError, ImageError, escaped
from mmkit.files import atomic, read_json, without_root, write_json
from mmkit.files.ownership import cache_root
from mmkit.inference.lacks import Lacks
from mmkit.inference.predictor import CHUNK, Predictor, load, or_blank, or_elsewhere
from mmkit.inference.shards.plan import Job, Part, Shard, done_file, errors_file, failed_file, part_file
from mmkit.inference.shards.records import Item, UnreadableError, items, reader_of
from mmkit.registry import build_part
from mmkit.terminal.notes import SHOWN

RECORDS = 1024
"""Records of a file that is not jsonlines that are kept together: what is done again, at most, after a kill."""

ALIKE = 16
"""Records that fail, all with one error and no other record beside them, before that stops everything."""

Report = Callable[[int], None]
"""Called with a number of further records that are predicted or refused."""


@dataclass(frozen=True)
class Task:
    """A piece of work: one part of a shard, the whole shard if it has no parts, or its file made of its parts.

    `piece` says where the part is; `shard` comes without its parts, which may be many. To `finish`, `part` is the
    number of parts.
    """

    shard: Shard
    part: int | None = None
    piece: Part | None = None
    finish: bool = False


@dataclass(frozen=True)
class Done:
    """What came of a task: its records, and, if the shard is finished, what is told of it."""

    records: int = 0
    failed: DataError | None = None


class Work:
    """A process that has loaded the model. `report` is told of progress."""

    def __init__(self, job: Job, report: Report, device: str | None = None) -> None:
        self.job, self.report = job, report
        self.predictor: Predictor = load(
            job.run,
            device or job.device,
            job.entities,
            search=job.search,
            allow_network=job.allow_network,
        )
        # Blank images stand for missing ones even where those are errors: one costs no second attempt at its batch.
        self.predictor.missing_images = "blank"

    def do(self, task: Task) -> Done:
        """Do a task. Raises what stops everything; a file that cannot be read is told in `Done.failed`."""
        try:
            task.shard.check_unchanged()
            if task.finish:
                finish(self.job, task.shard, task.part or 0)
                return Done()
            if task.part is None or task.piece is None:
                records, parts = self._whole(task.shard)
                finish(self.job, task.shard, parts)
                return Done(records)
            reader = reader_of(task.shard, task.piece)
            made = self._part(task.shard, task.part, items(reader))
            self._save(task.shard, task.part, made, reader.repairs)
            return Done(made["records"])
        except UnreadableError as error:
            with atomic(failed_file(self.job, task.shard.number)):
                return Done(failed=error.error)

    def _whole(self, shard: Shard) -> tuple[int, int]:
        """Predict a file from its beginning to its end; parts that are done are read, and not predicted again.

        Returns the number of records, and of parts.
        """
        reader = reader_of(shard)
        remaining = items(reader)
        records = 0
        for number in count():
            some = list(islice(remaining, RECORDS))
            records += len(some)
            done = part_file(self.job, shard.number, number, "json").exists()
            if some and done:
                self.report(len(some))
                continue
            made = self._part(shard, number, some)
            # at the end the reader has counted everything, whatever was done before
            self._save(shard, number, made, {} if some else reader.repairs)
            if not some:
                return records, number + 1
        raise AssertionError("unreachable")

    def _part(self, shard: Shard, number: int, some: Iterable[Item]) -> dict[str, Any]:
        """Write the predictions and the broken records of a part; returns what is counted of it."""
        lacks, tally = Lacks(), Tally()
        written, refused = (part_file(self.job, shard.number, number, kind) for kind in ("jsonl", "errors"))
        folder = folder_of(Path(self.job.output) / shard.output)
        with atomic(refused) as file:

            def refuse(item: Item, error: DataError) -> None:
                if self.job.strict:
                    raise error
                tally.errors += 1
                file.write(escaped(json.dumps(item.broken(error), ensure_ascii=False)) + "\n")

            found = (
                (moved(example, folder), prediction)
                for example, prediction in self._predicted(iter(some), tally, refuse)
            )
            if self.job.format is None:
                with atomic(written) as lines:
                    for answer in lacks.counted(self.predictor.answer(*pair) for pair in found):
                        lines.write(
                            escaped(json.dumps(answer.to_dict(), ensure_ascii=False, default=repr)) + "\n"
                        )
            else:
                write_jsonl(written, self._annotated(found, lacks), "examples")
        return {**vars(tally), "predictions": lacks.examples, "lacks": lacks.to_json()}

    def _annotated(self, found: Iterable[tuple[Example, Prediction]], lacks: Lacks) -> Iterator[Example]:
        """The examples, annotated with what was predicted."""
        for example, prediction in found:
            for _ in lacks.counted([self.predictor.answer(example, prediction)]):
                yield silver(self.predictor.task.question(example), prediction)

    def _save(self, shard: Shard, number: int, made: dict[str, Any], repairs: Mapping[str, int]) -> None:
        """Write what is counted of a part: now it is done."""
        write_json(part_file(self.job, shard.number, number, "json"), {**made, "repairs": dict(repairs)})

    def _predicted(
        self, some: Iterator[Item], tally: Tally, refuse: Refuse
    ) -> Iterator[tuple[Example, Prediction]]:
        """The predictions of records, in order. What is refused is told in order too."""
        while chunk := list(islice(some, CHUNK)):
            refused: dict[int, DataError] = {}
            asked: list[int] = []
            for at, item in enumerate(chunk):
                try:
                    self._check(item)
                    asked.append(at)
                except DataError as error:
                    refused[at] = error
            pairs = self._asked([(at, chunk[at]) for at in asked], refused, tally)
            _check_blame([refused[at] for at in asked if at in refused], len(asked))
            for at in sorted(refused):
                refuse(chunk[at], refused[at])
            yield from pairs
            tally.records += len(chunk)
            self.report(len(chunk))

    def _check(self, item: Item) -> None:
        if item.error is not None:
            raise item.error
        assert item.example is not None
        self.predictor.task.check_input(item.example)

    def _asked(
        self, asked: Sequence[tuple[int, Item]], refused: dict[int, DataError], tally: Tally
    ) -> list[tuple[Example, Prediction]]:
        """The predictions of records, which are batched together. Records without a prediction are `refused`.

        If a batch fails, it is halved until the records are found for which it does. With the policy "error", images
        that blank ones replaced are told as errors of their records.
        """
        if not asked:
            return []
        examples = [item.example for _, item in asked if item.example is not None]
        missing = self.predictor.model.missing
        missing.forget()
        try:
            pairs = list(self.predictor.stream(examples, self.job.batch_size))
        except DataError as error:
            if len(asked) == 1:
                refused[asked[0][0]] = error
                return []
            half = len(asked) // 2
            return [
                pair for some in (asked[:half], asked[half:]) for pair in self._asked(some, refused, tally)
            ]
        replaced, codes = dict(missing.replaced), dict(missing.codes)
        if self.job.missing_images == "blank" or not replaced:
            tally.blank(replaced)
            return pairs
        if replaced.keys() <= {image.path for example in examples for image in example.images}:
            for at, item in asked:
                if item.example is not None and (image := _replaced(item.example, replaced)):
                    refused[at] = _missing(image, replaced[image], codes.get(image, ""))
            return [pair for pair in pairs if not _replaced(pair[0], replaced)]
        missing.policy = "error"  # some are not the records' own (an annotator added them): one by one
        try:
            return self._asked(asked, refused, tally)
        finally:
            missing.policy = "blank"


class Tally:
    """What is counted of a part, beside what the model did not read."""

    def __init__(self) -> None:
        self.records = self.errors = self.blanks = 0
        self.shown: list[str] = []

    def blank(self, replaced: Mapping[str, str]) -> None:
        """Count images that were replaced by blank ones; the first few are named."""
        self.blanks += len(replaced)
        self.shown += [f"{path}: {why}" for path, why in replaced.items()][: SHOWN - len(self.shown)]


Refuse = Callable[[Item, DataError], None]


def _check_blame(failed: Sequence[DataError], asked: int) -> None:
    """Raise an error that is that of every one of many records: then they are not to blame."""
    alike = len(failed) == asked >= ALIKE and len({str(error) for error in failed}) == 1
    if alike and not isinstance(failed[0], ImageError):
        raise failed[0]


def _replaced(example: Example, replaced: Mapping[str, str]) -> str:
    """The first image of an example that a blank one replaced; empty if there is none."""
    return next((image.path for image in example.images if image.path in replaced), "") or ""


def _missing(image: str, why: str, code: str) -> ImageError:
    hint = or_elsewhere(or_blank(why_missing(image))) if code == "image.missing" else or_blank("")
    return ImageError(why, where=without_root(image), hint=hint, code=code)


def earlier(job: Job, task: Task) -> Done | None:
    """What came of a task that is done already; None if it is to be done."""
    shard = task.shard.number
    finished = done_file(job, shard)
    if finished.exists() and (Path(job.output) / task.shard.output).exists():
        return Done(0 if task.finish else read_json(finished)["records"])
    if task.piece is None or task.part is None:
        return None
    summary = part_file(job, shard, task.part, "json")
    return Done(read_json(summary)["records"]) if summary.exists() else None


def finish(job: Job, shard: Shard, parts: int) -> None:
    """Make a shard's file of its parts, which are all done, and remove them."""
    numbers = range(parts)
    target = Path(job.output) / shard.output
    losses: Counter[str] = Counter()
    repairs: dict[str, int] = {}
    files = [part_file(job, shard.number, number, "jsonl") for number in numbers]
    if job.format is None:
        with atomic(target, "wb") as whole:
            _append(files, whole)
    else:
        writer: Writer = build_part("writers", job.format, job.settings)
        examples = chain.from_iterable(read_jsonl(file, "examples") for file in files)
        writer.write(target, examples)  # type: ignore[arg-type]  # of this kind
        losses = writer.losses
        if writer.copies_images:
            repairs = _copied(job, shard, chain.from_iterable(read_jsonl(file, "examples") for file in files))
    counted = total(read_json(part_file(job, shard.number, number, "json")) for number in numbers)
    counted["repairs"] = {**counted["repairs"], **repairs}
    if counted["errors"]:
        with atomic(errors_file(job, shard.number), "wb") as whole:
            _append([part_file(job, shard.number, number, "errors") for number in numbers], whole)
    failed_file(job, shard.number).unlink(missing_ok=True)
    write_json(done_file(job, shard.number), {**counted, "losses": dict(losses)})
    shutil.rmtree(part_file(job, shard.number, 0, "json").parent, ignore_errors=True)


def _copied(job: Job, shard: Shard, examples: Iterable[Any]) -> dict[str, int]:
    """How many of the images that a writer copied are from outside the folders of the data."""
    folder = folder_of(Path(job.output) / shard.output)
    paths = (under(folder, image.path) for x in examples for image in x.images if image.path is not None)
    found = from_outside(paths, [*reader_of(shard).picture_folders(), cache_root()])
    return {"image from outside the folders of the data, copied into the file": len(found)} if found else {}


def total(counts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What is counted of several parts or shards, together."""
    sums: Counter[str] = Counter()
    repairs: Counter[str] = Counter()
    losses: Counter[str] = Counter()
    lacks, shown = Lacks(), list[str]()
    for one in counts:
        sums.update({name: one[name] for name in ("records", "predictions", "errors", "blanks")})
        repairs.update(one["repairs"])
        losses.update(one.get("losses", {}))
        lacks.add(one["lacks"])
        shown = [*shown, *one["shown"]][:SHOWN]
    named = {name: sums[name] for name in ("records", "predictions", "errors", "blanks")}
    return {
        **named,
        "shown": shown,
        "repairs": dict(repairs),
        "losses": dict(losses),
        "lacks": lacks.to_json(),
    }


def _append(files: Iterable[Path], whole: IO[bytes]) -> None:
    for file in files:
        with file.open("rb") as part:
            shutil.copyfileobj(part, whole, 1 << 20)
