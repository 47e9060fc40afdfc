"""Predicting files: `mmkit.predict_files`, and what `mmkit predict --output FOLDER` does."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from mmkit import registry
from mmkit.data.writer import Writer
from mmkit.encoders.items import MissingPolicy
from mmkit.errors import DataError, Interrupted, MMKitError, RunError
from mmkit.files import explained, read_json, replacing
from mmkit.files.temporary import leftovers, remove_leftovers
from mmkit.hooks import registered
from mmkit.inference.executor import Executor
from mmkit.inference.lacks import Lacks
from mmkit.inference.predictor import searching
from mmkit.inference.shards.inputs import ERRORS, found_inputs
from mmkit.inference.shards.plan import Job, Shard, check_folder, done_file, errors_file, planned
from mmkit.inference.shards.pool import Pool
from mmkit.inference.shards.schedule import Schedule
from mmkit.inference.shards.work import Work, total
from mmkit.runs.folder import Run
from mmkit.runs.opening import open_run
from mmkit.terminal.notes import few

LABEL = "predicted records"


@dataclass(frozen=True)
class PredictedFiles:
    """What `predict_files` has written."""

    folder: Path
    files: tuple[Path, ...]
    """The files of predictions, in the order of their inputs."""
    predictions: int
    errors: int
    """The number of broken records, which are in `errors_file`."""
    errors_file: Path | None
    computed: int
    """The records that this call has read and predicted; the others were done before."""

    def __str__(self) -> str:
        files = f"{len(self.files):,} file{'s' if len(self.files) != 1 else ''}"
        said = f"{self.predictions:,} predictions in {files} in {self.folder}"
        if self.errors:
            records = "1 broken record" if self.errors == 1 else f"{self.errors:,} broken records"
            said += f"; {records} in {self.errors_file}"
        return said


def predict_files(
    run: str | Path,
    inputs: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    workers: int | None = None,
    reader: str | None = None,
    reader_settings: Mapping[str, Any] | None = None,
    images: str | Path | None = None,
    format: str | None = None,
    settings: Mapping[str, Any] | None = None,
    missing_images: MissingPolicy = "error",
    batch_size: int | None = None,
    strict: bool = False,
    device: str = "auto",
    entities: str | Path | None = None,
    search: str | Mapping[str, Any] | None = None,
    allow_network: bool = False,
    executor: Executor | None = None,
    hooks: Sequence[object] = (),
) -> PredictedFiles:
    """Predict for every record of many files, and write one file into the folder `output` for each.

    `run` is a folder, or an address that a plugin opens, as for `mmkit.load`. `inputs` are files, folders, and
    patterns such as `posts/*.jsonl`. Each is read by `reader`, or by the one that knows its format, with
    `reader_settings`; `images` is the folder of their images, if it is another one. The outputs hold an answer a line,
    or what the writer `format` with its `settings` makes of them, in the order of the input, under the input's name and
    folder. `workers` processes share the work; with one (the default), it is done here. An `executor`, which a plugin
    brings, does it on other machines. `entities` and `search` are those of `mmkit.load`. A record that is broken, or
    whose image is missing unless `missing_images` is "blank", goes to `errors.jsonl` in the folder, or ends everything
    with `strict`.

    A call that was killed or stopped is made again to go on: what is done is not done again, and the same files come
    out. Raises `RunError` if the folder was begun with other files or settings, or holds files of another origin,
    `DataError` at the end if there are files that cannot be read (all others are written), and `Interrupted` on Ctrl-C.
    `hooks` are further hook implementations; they get progress and notes, like those of installed plugins.
    """
    if workers is not None and workers < 1:
        raise DataError(f"workers must be at least 1, not {workers}", where="workers", code="predict.workers")
    folder = Path(os.path.abspath(output))  # noqa: PTH100 - links stay as they are named
    name, ending = _written(format)
    run_folder = open_run(run)
    own = Run(run_folder).recipe()  # a folder that is no run is refused before anything is written
    if search is not None:
        searching(own, search)  # and so is a search that the run's decoder does not take
    pictures = None if images is None else Path(os.path.abspath(images))  # noqa: PTH100 - as above
    found, notes = found_inputs(inputs, folder, ending, reader, reader_settings, pictures)
    job = Job(
        run=os.path.abspath(run_folder),  # noqa: PTH100 - as above
        output=str(folder),
        device=device,
        entities=None if entities is None else os.path.abspath(entities),  # noqa: PTH100 - as above
        missing_images=missing_images,
        batch_size=batch_size,
        format=name,
        settings=dict(settings or {}),
        strict=strict,
        allow_network=allow_network,
        search=search,
    )
    if name is not None:
        registry.build_part("writers", name, job.settings)  # wrong settings are refused at once
    with registered(*hooks) as plugins:
        for note in notes:
            plugins.hook.mmkit_note(message=note)
        with explained(job.work):
            check_folder(job)
            job.work.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(job.work / "lock", timeout=0):
                return _predict(job, planned(job, found), workers, executor, plugins.hook)
        except Timeout:
            raise RunError(
                "another process predicts into this folder",
                where=folder,
                hint="wait for it, or name another --output folder",
                code="predict.in-use",
            ) from None


def _written(format: str | None) -> tuple[str | None, str]:
    """The writer's full name, None for answers, and the ending of the files. Refuses a writer of folders."""
    if format is None:
        return None, ".jsonl"
    name = registry.writers.full_name(format)
    writer: type[Writer] = registry.get("writers", name)
    if not writer.ending:
        raise DataError(
            f"{name} does not write one file for each file of input",
            where="--format",
            hint="leave --format out, then convert the predictions with `mmkit convert`",
            code="predict.format",
        )
    return name, writer.ending


def _predict(
    job: Job, shards: Sequence[Shard], workers: int | None, executor: Executor | None, hook: Any
) -> PredictedFiles:
    """Do what is left, gather the errors, and tell of the rest."""
    _remove_leftovers(job, shards)

    def progress(done: int, total: int) -> None:
        hook.mmkit_progress(label=LABEL, done=done, total=total)

    def note(message: str) -> None:
        hook.mmkit_note(message=message)

    schedule = Schedule(job, shards, progress)
    if job.strict:
        _refuse_broken(job, shards)
    if schedule.before:
        note(f"{schedule.before:,} records are done already")
    try:
        if executor is not None:
            executor.predict(job, schedule, workers, note)
        elif workers is None or workers == 1:
            _here(job, schedule)
        else:
            Pool(job, workers, note).run(schedule)
    except KeyboardInterrupt:
        raise _interrupted(job, shards) from None
    finally:
        _remove_leftovers(job, shards)
    if schedule.done != schedule.total:  # lines without a record were counted too
        progress(schedule.done, schedule.done)
    finished = [shard for shard in shards if shard.number not in schedule.failed]
    counted = total(read_json(done_file(job, shard.number)) for shard in finished)
    errors = _gather_errors(job, shards)
    _tell(counted, note)
    if schedule.failed:
        raise _failed(job, shards, schedule.failed)
    shutil.rmtree(job.work / "parts", ignore_errors=True)
    return PredictedFiles(
        folder=Path(job.output),
        files=tuple(Path(job.output) / shard.output for shard in shards),
        predictions=counted["predictions"],
        errors=counted["errors"],
        errors_file=errors,
        computed=schedule.done - schedule.before,
    )


def _here(job: Job, schedule: Schedule) -> None:
    """Do all tasks in this process. The model is loaded if there is one."""
    work = None
    while (task := schedule.next()) is not None:
        work = work or Work(job, lambda records: schedule.moved(0, records))
        schedule.finished(0, task, work.do(task))


def _remove_leftovers(job: Job, shards: Sequence[Shard]) -> None:
    """Remove what processes that were killed were writing."""
    remove_leftovers(job.work.rglob("*"))
    for shard in shards:
        if not done_file(job, shard.number).exists():
            target = Path(job.output) / shard.output
            remove_leftovers(leftovers(target.parent, target.name))


def _gather_errors(job: Job, shards: Sequence[Shard]) -> Path | None:
    """Write the broken records of all finished shards into one file; None if there are none."""
    target = Path(job.output) / ERRORS
    files = [path for shard in shards if (path := errors_file(job, shard.number)).exists()]
    if not files:
        target.unlink(missing_ok=True)
        return None
    with replacing(target) as temporary, temporary.open("wb") as whole:
        for path in files:
            with path.open("rb") as part:
                shutil.copyfileobj(part, whole)
    return target


def _refuse_broken(job: Job, shards: Sequence[Shard]) -> None:
    """With `strict`: refuse broken records that were found before."""
    broken = [str(shard.path) for shard in shards if errors_file(job, shard.number).exists()]
    broken += [str(path) for path in sorted(job.work.glob("parts/*/*.errors")) if path.stat().st_size]
    if broken:
        raise DataError(
            f"there are broken records in {few(broken)}",
            where=job.output,
            hint="look at errors.jsonl; leave --strict out to go on, or name a new --output folder",
            code="predict.broken-records",
        )


def _interrupted(job: Job, shards: Sequence[Shard]) -> Interrupted:
    finished = sum(done_file(job, shard.number).exists() for shard in shards)
    return Interrupted(
        f"stopped; {finished:,} of {len(shards):,} files are finished, and parts of others are kept",
        where=job.output,
        hint="the same command goes on",
        code="predict.interrupted",
    )


def _failed(job: Job, shards: Sequence[Shard], failed: Mapping[int, MMKitError]) -> DataError:
    said = [str(failed[shard.number]) for shard in shards if shard.number in failed]
    shown = said[:5] + ([f"and {len(said) - 5:,} more files"] if len(said) > 5 else [])
    return DataError(
        "\n  ".join(
            [f"{len(failed):,} of {len(shards):,} files have no predictions; the others have:", *shown]
        ),
        where=job.output,
        hint="correct them, and give the same command again: it does only what is left",
        code="predict.files-failed",
    )


def _tell(counted: Mapping[str, Any], note: Callable[[str], None]) -> None:
    """Notes about what was not read, corrected, replaced, or has no place in the format."""
    lacks = Lacks()
    lacks.add(counted["lacks"])
    for line in lacks.lines():
        note(line)
    for reason, number in counted["repairs"].items():
        note(f"{number:,} × {reason}")
    if counted["blanks"]:
        for line in counted["shown"]:
            note(f"a blank image was used instead of {line}")
        if (more := counted["blanks"] - len(counted["shown"])) > 0:
            note(f"and {more:,} more of this kind")
    for what, number in counted["losses"].items():
        note(f"not written, because the format has no place for it: {number:,} × {what}")
