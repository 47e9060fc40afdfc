"""Options of a task's own on the command line: each kind of input, read as what it is."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from mmkit.cli import task_options
from mmkit.cli.predict import predict
from mmkit.cli.task_options import TASK, TaskCommand, given_to
from mmkit.data.types import Example, Prediction
from mmkit.inference.predictor import Predictor
from mmkit.tasks import Answer, Input, Task
from raising import raises


class Kinds(Task):
    """Asks for one input of each kind; it has a setting, so that nothing makes one unasked."""

    name = "kinds"
    does_not = "asks for no kinds"
    answer_type = Answer
    inputs = (
        Input("words", "words", "words"),
        Input("least_size", "a number", "number"),
        Input("schema_of", "any JSON", "json"),
        Input("ids", "ids", "id", many=True, option="one"),
        Input("mention", "what this task calls so", "text", many=True),
    )

    def __init__(self, setting: int) -> None:
        self.setting = setting

    def question(self, example: Example) -> Example:
        return example

    def answered(self, example: Example, prediction: Prediction, entities: Any) -> Answer:
        return Answer.of(example, prediction)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Run a command on a run of this task, and return what it was given, or its output where it failed."""
    monkeypatch.setattr(task_options, "task_of", lambda run: Kinds(1))
    (tmp_path / "recipe.cfg").touch()
    seen: dict[str, Any] = {}

    @click.command(cls=TaskCommand)
    @click.argument("run", type=click.Path(path_type=Path))
    @click.option("--text")
    @click.pass_context
    def command(context: click.Context, /, run: Path, text: str | None, **options: Any) -> None:
        seen.update(run=run, task=context.meta[TASK].name, given=given_to(options))

    def ask(*arguments: str) -> Any:
        seen.clear()
        done = CliRunner().invoke(command, [str(tmp_path) if a == "RUN" else a for a in arguments])
        return seen if done.exit_code == 0 else done.output

    return ask


def test_each_kind_is_read_as_what_it_is(asked: Any) -> None:
    line = [
        "RUN",
        "--words",
        "a b",
        "--least-size",
        "0.5",
        "--schema-of",
        '{"a": [1]}',
        "--one",
        "x",
        "--one",
        "y",
    ]
    given = {"words": "a b", "least_size": 0.5, "schema_of": {"a": [1]}, "ids": ["x", "y"]}
    assert asked(*line)["given"] == given
    assert asked(*line[1:], "RUN")["given"] == given
    assert asked("RUN")["given"] == {}


def test_an_input_of_the_run_comes_before_another_task_s_of_the_same_name(asked: Any) -> None:
    assert asked("RUN", "--mention", "a", "--mention", "b")["given"] == {"mention": ["a", "b"]}


def test_options_of_other_tasks_are_read_to_be_refused_with_their_names(asked: Any) -> None:
    assert asked("RUN", "--head", "a")["given"] == {"head": "a"}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["--least-size", "much"], "--least-size"),
        (["--schema-of", "{"], "this is not JSON"),
        (["--last-size", "1"], "--least-size"),
    ],
)
def test_what_cannot_be_read_is_said_with_the_option(asked: Any, line: list[str], said: str) -> None:
    told = asked("RUN", *line)
    assert isinstance(told, str) and said in told


def test_the_help_of_a_run_lists_its_own() -> None:
    command = click.Context(TaskCommand("x"))
    command.meta[TASK] = Kinds(1)
    told = command.command.get_help(command)
    assert "--schema-of JSON" in told and "--one ID" in told and "--head" not in told


def test_no_input_has_the_name_of_something_that_every_run_takes() -> None:
    options = [
        option for option in predict.params if isinstance(option, click.Option) and option.expose_value
    ]
    names = {flag.removeprefix("--").replace("-", "_") for option in options for flag in option.opts}
    for method in (Predictor.predict, Predictor.predict_many):
        arguments = list(inspect.signature(method).parameters.values())[1:]
        names |= {a.name for a in arguments if a.kind is not inspect.Parameter.VAR_KEYWORD}
    assert {"allow_network", "texts", "missing_images"} <= names
    for name in sorted(names):
        with raises("part.task", match=f"cannot be called '{name}'"):
            Input(name, "twice")
