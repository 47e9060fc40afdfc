"""A tiny tagger on text alone, and files of posts for it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from mmkit.cli import main
from mmkit.hooks import hookimpl
from mmkit.loading.stand_ins import tiny
from mmkit.training.train import train
from posts import post, recipe_of


def text_tagger(folder: Path) -> Path:
    """A run that tags spans in text, in `folder`."""
    posts = [post(number) for number in range(24)]
    settings = {"training.epochs": 8, "training.eval_batch_size": 4}
    train(tiny(recipe_of(folder, posts, posts)).with_overrides(settings), folder / "run", device="cpu")
    return folder / "run"


def mmkit_predict(run: Path, *arguments: object) -> Result:
    """`mmkit predict` as a user types it."""
    return CliRunner().invoke(main, ["predict", str(run), "--device", "cpu", *map(str, arguments)])


def posts(number: int, of: str = "p") -> list[dict[str, Any]]:
    """Posts of several lengths."""
    words = ["look at Mara Okafor in Lisbon", "again", "Mara", "in Lisbon with Okafor", "now"]
    return [{"id": f"{of}{i}", "text": " ".join(words[: 1 + i % 5]) + f" {i}"} for i in range(number)]


def write_lines(path: Path, records: Iterable[Any], header: bool = False) -> Path:
    """A file of jsonlines; texts are written as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ['{"format": 2, "kind": "examples"}'] if header else []
    lines += [record if isinstance(record, str) else json.dumps(record) for record in records]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def written(folder: Path) -> dict[str, bytes]:
    """The files that a prediction has written, without those that it needs to go on."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".predict" not in path.parts
    }


def answers(path: Path) -> list[dict[str, Any]]:
    """The lines of a file of answers."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


class Telling:
    """Keeps notes and progress; raises `error` when the progress is told for the `moment`-th time."""

    def __init__(self, moment: int = 0, error: BaseException | None = None) -> None:
        self.moment, self.error = moment, error
        self.notes: list[str] = []
        self.progress: list[tuple[int, int]] = []

    @hookimpl
    def mmkit_note(self, message: str) -> None:
        self.notes.append(message)

    @hookimpl
    def mmkit_progress(self, done: int, total: int) -> None:
        self.progress.append((done, total))
        if len(self.progress) == self.moment and self.error is not None:
            raise self.error
