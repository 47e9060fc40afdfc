"""Errors that a user can fix: one message that says what is wrong, where, and what to do."""

from __future__ import annotations

import contextlib
import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Self, TypeVar


class MMKitError(Exception):
    """An error that the user can fix; the command line prints it without a traceback and exits with 2.

    `what` is one sentence, `where` a place (file:line, recipe section, part), `hint` what to do next. `code`
    identifies the error, for programs and for a search: `area.problem` (`file.missing`). It stays the same when the
    message changes. An error without its own code has the code of its class. docs/errors.md lists all codes.
    """

    exit_code = 2
    code: str = "error"
    each: tuple[MMKitError, ...] = ()
    """The errors that this one is made of, if of several."""

    def __init__(self, what: str, *, where: object = "", hint: str = "", code: str = "") -> None:
        super().__init__(what)
        self.what, self.where, self.hint = what, str(where), hint
        self.code = code or type(self).code

    def at(self, where: object, hint: str = "") -> Self:
        """The same error, with the same code, at another place and with another hint (if given)."""
        if self.each:
            return gathered([error.at(error.where or where, hint) for error in self.each])  # type: ignore[return-value]
        return type(self)(self.what, where=where, hint=hint or self.hint, code=self.code)

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}\n  → {self.hint}" if self.hint else text


X = TypeVar("X", bound=MMKitError)


class RecipeError(MMKitError):
    """A recipe that cannot be used: unknown keys, wrong types, parts that do not fit."""

    code = "recipe"


class PartError(MMKitError):
    """A registered part or plugin that is missing, broken or of the wrong kind."""

    code = "part"


class DataError(MMKitError):
    """A data file or record that cannot be read."""

    code = "data"


class ImageError(DataError):
    """An image file that is missing, empty, truncated, too large or not an image."""

    code = "image"


class RunError(MMKitError):
    """A run folder that cannot be written, loaded or resumed."""

    code = "run"


class TrainingError(MMKitError):
    """Training that cannot continue: a loss that is not finite, or not enough memory."""

    code = "training"


class Interrupted(MMKitError):  # noqa: N818 - no error of anyone
    """The user or the system asked to stop; everything was saved."""

    exit_code = 130
    code = "interrupted"


class TrainingStopped(Interrupted):
    """A hook asked to stop the training (`mmkit_evaluated`); everything was saved, and the run can be resumed."""

    code = "training.stopped"


class Terminated(SystemExit):
    """SIGTERM, raised so that temporary files are removed on the way out. Whoever catches `SystemExit` lets it pass."""


def gathered(errors: Sequence[X]) -> X:
    """One error that says what several of a class say; each of them is in its `each`. A single one stays itself."""
    if len(errors) == 1:
        return errors[0]
    made = type(errors[0])("\n".join(map(str, errors)), code=errors[0].code)
    made.each = tuple(part for error in errors for part in error.each or (error,))
    return made


@contextlib.contextmanager
def from_files(where: Path | None, what: str) -> Iterator[None]:
    """Say of files in a run that `what` cannot be built from that they are damaged, whatever is raised.

    They are the only thing that a part is built from there. Without files (`where` is None) nothing is changed.
    """
    try:
        yield
    except MMKitError:
        raise
    except Exception as error:  # parts and their libraries raise all kinds
        if where is None:
            raise
        raise RunError(
            f"{what} cannot be built from what is in the run: {one_line(error)[:300]}",
            where=where,
            hint="copy the run folder again; run with --debug to see more",
            code="run.unbuildable",
        ) from error


def one_line(error: BaseException) -> str:
    """An exception's type and message on one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def printable(text: str, keep: str = "") -> str:
    """Text from data, safe for a terminal: control characters become visible, except those in `keep`."""
    return CONTROLS.sub(lambda m: m[0] if m[0] in keep else _visible(m[0]), text)


CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that control a terminal: escape sequences begin with one, and some change the direction of writing.

Halves of surrogate pairs are among them, which no terminal can be sent.
"""


def escaped(text: str) -> str:
    """JSON, its characters that would control a terminal written as escapes, but for line ends: the same JSON."""
    return CONTROLS.sub(lambda m: m[0] if m[0] == "\n" else f"\\u{ord(m[0]):04x}", text)


def _visible(character: str) -> str:
    code = ord(character)
    return chr(0x2400 + code) if code < 0x20 else "\u2421" if code == 0x7F else f"\\u{code:04x}"


def near_misses(name: str, known: Iterable[str], n: int = 3) -> list[str]:
    """The names in `known` that are most similar to a misspelt `name`, best first."""
    return difflib.get_close_matches(name, sorted(known), n=n, cutoff=0.55)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Text for an error's hint: the most similar names, or all names if none is similar."""
    known = sorted(known)
    near = near_misses(name, known)
    if near:
        return "did you mean " + " or ".join(repr(n) for n in near) + "?"
    return "known: " + ", ".join(known) if known else "there are none"


def listed(names: Sequence[str]) -> str:
    """Names in a sentence: "a, b and c"."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
