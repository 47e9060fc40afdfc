"""What a plugin needs to do parts of a job elsewhere: options of its own for mmkit's commands, and an executor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import click
import pytest
from click.testing import CliRunner, Result

import mmkit
from mmkit import hooks
from mmkit.annotators.base import Annotator
from mmkit.annotators.run import computed
from mmkit.cli import LazyGroup, main
from mmkit.data.types import Example
from mmkit.errors import RunError
from mmkit.hooks import hookimpl, registered
from mmkit.inference.executor import EXECUTOR, Executor
from mmkit.inference.shards import plan
from mmkit.inference.shards.work import Work, earlier
from mmkit.loading.annotation import Annotation
from predicting import Telling, posts, text_tagger, write_lines, written
from raising import raises


class Elsewhere(Executor):
    """Does the tasks in this process, and loses the first `losing` of them."""

    option: ClassVar[str] = "--elsewhere"

    def __init__(self, losing: int = 0) -> None:
        self.losing, self.workers, self.batches = losing, [], 0

    def predict(self, job: Any, schedule: Any, workers: int | None, note: Any) -> None:
        self.workers.append(workers)
        work = Work(job, lambda records: None)
        for task in iter(schedule.next, None):
            if self.losing:
                self.losing -= 1
                note(f"lost: {schedule.lost(0, task, 'the machine is gone')}")
                continue
            assert earlier(job, task) is None
            schedule.finished(0, task, work.do(task))
            assert earlier(job, task) is not None

    def annotate(
        self, annotator: Annotator, missing: Mapping[str, Any], device: str
    ) -> Iterator[dict[str, Any]]:
        annotator.prepare(device)
        for key, record in reversed(missing.items()):  # in any order
            self.batches += 1
            yield computed(annotator, [key], [record])


class Plugin:
    """Gives two commands the option `--elsewhere [NAME]`."""

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        self.names: list[str | None] = []

    @hookimpl
    def mmkit_command_options(self, command: click.Command) -> None:
        if command.name in ("predict", "annotate"):
            option = click.Option(
                ["--elsewhere"],
                is_flag=False,
                flag_value="anywhere",
                expose_value=False,
                callback=self.chosen,
                help="Do it elsewhere.",
            )
            command.params.append(option)

    def chosen(self, context: click.Context, parameter: click.Parameter, value: str | None) -> None:
        self.names.append(value)
        if value is not None:
            context.meta[EXECUTOR] = self.executor


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return text_tagger(tmp_path_factory.mktemp("tagger"))


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "PART", 400)


@pytest.fixture
def plugin() -> Iterator[Plugin]:
    """The plugin, for commands that are new to it; afterwards they are as before."""
    from mmkit.cli.data import annotate
    from mmkit.cli.predict import predict

    assert isinstance(main, LazyGroup)
    before, known = {command: command.params[:] for command in (predict, annotate)}, set(main.with_options)
    main.with_options.clear()
    for each in before:
        without_options_of_plugins(each)
    one = Plugin(Elsewhere())
    with registered(one):
        yield one
    for command, params in before.items():
        command.params[:] = params
    main.with_options.clear()
    main.with_options.update(known)


def without_options_of_plugins(command: click.Command) -> None:
    """Take away what installed plugins have added in an earlier test: they are asked again."""
    empty = click.Command(command.name)
    for _ in hooks.call_each("mmkit_command_options", command=empty):
        pass
    theirs = {option.name for option in empty.params}
    command.params[:] = [option for option in command.params if option.name not in theirs]


def command(*arguments: object) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments)])


def test_what_comes_out_is_what_one_process_writes(run, tmp_path):
    source = write_lines(tmp_path / "posts.jsonl", [*posts(40), "{broken"])
    mmkit.predict_files(run, source, tmp_path / "here", device="cpu")
    executor, telling = Elsewhere(), Telling()
    done = mmkit.predict_files(
        run, source, tmp_path / "there", device="cpu", executor=executor, workers=3, hooks=[telling]
    )
    assert (done.predictions, done.errors, done.computed) == (40, 1, 41) and executor.workers == [3]
    assert written(tmp_path / "there") == written(tmp_path / "here")
    assert telling.progress[-1] == (41, 41)


def test_a_lost_task_is_tried_again_and_then_given_up(run, tmp_path):
    source = write_lines(tmp_path / "posts.jsonl", posts(3))
    telling = Telling()
    done = mmkit.predict_files(
        run, source, tmp_path / "out", device="cpu", executor=Elsewhere(losing=1), hooks=[telling]
    )
    assert done.predictions == 3 and "lost: True" in telling.notes
    with raises("predict.files-failed") as caught:
        mmkit.predict_files(run, source, tmp_path / "none", device="cpu", executor=Elsewhere(losing=2))
    assert "ended 2 times: the machine is gone" in str(caught.value) and "lines 1 to 3" in str(caught.value)


def test_a_plugin_gives_a_command_an_option(run, plugin, tmp_path):
    source = write_lines(tmp_path / "posts.jsonl", posts(3))
    files = ("--input", source, "--output", tmp_path / "out")
    done = command("predict", "--elsewhere", "--device", "cpu", run, *files)
    assert done.exit_code == 0, done.output
    assert plugin.names == ["anywhere"] and plugin.executor.workers == [None]
    assert command("predict", run, *files, "--elsewhere=there").exit_code == 0
    assert command("predict", run, "--text", "Mara").exit_code == 0
    assert plugin.names == ["anywhere", "there", None], "the option is added once"
    shown = command("predict", "--help").output
    assert shown.count("--elsewhere") == 1 and "Do it elsewhere." in shown
    alone = command("predict", run, "--text", "Mara", "--elsewhere")
    assert alone.exit_code == 2 and "--elsewhere goes with --input" in alone.stderr


def test_a_plugin_that_fails_to_add_its_option_is_named(run, plugin, monkeypatch):
    from mmkit import hooks

    class Broken:
        @hookimpl
        def mmkit_command_options(self, command: click.Command) -> None:
            raise ValueError("no such thing")

    with registered(Broken()):
        done = command("predict", run, "--text", "Mara")
    hooks.broken.clear()
    assert done.exit_code == 0
    assert "cannot be used" in done.stderr and "no such thing" in done.stderr


class Shout(Annotator):
    """Notes the text in capitals."""

    def fingerprint(self) -> str:
        return "shout"

    def key(self, x: Example) -> str:
        return x.text

    def annotate(self, batch: Any) -> list[str]:
        return [x.text.upper() for x in batch]

    def apply(self, x: Example, result: Any) -> Example:
        from dataclasses import replace

        return replace(x, notes={"shout": result})


def test_an_annotator_is_computed_elsewhere_and_stored_here(tmp_path, monkeypatch):
    monkeypatch.setenv("MMKIT_CACHE", str(tmp_path))
    examples = [Example(str(i), f"text {i % 3}", (), ()) for i in range(5)]
    executor = Elsewhere()
    for _ in range(2):
        found = Annotation({"shout": Shout()}, compute=executor.annotate).annotated(examples)
        assert [x.notes["shout"] for x in found] == ["TEXT 0", "TEXT 1", "TEXT 2", "TEXT 0", "TEXT 1"]
    assert executor.batches == 3, "each key once, and then from the store"


def test_results_stay_if_the_executor_fails(tmp_path, monkeypatch):
    monkeypatch.setenv("MMKIT_CACHE", str(tmp_path))

    def failing(annotator: Annotator, missing: Mapping[str, Any], device: str) -> Iterator[dict[str, Any]]:
        yield from [computed(annotator, [key], [missing[key]]) for key in ("a", "b") if key in missing]
        raise RunError("the cluster is gone", code="run.damaged")

    examples = [Example(x, x, (), ()) for x in "abc"]
    with raises("run.damaged"):
        Annotation({"shout": Shout()}, compute=failing).annotated(examples)
    executor = Elsewhere()
    Annotation({"shout": Shout()}, compute=executor.annotate).annotated(examples)
    assert executor.batches == 1
