"""`check_reader`, `check_annotator` and `check_metric`: they pass parts of the core, and notice what is broken."""

from __future__ import annotations

import json
import random
import re
from dataclasses import replace
from pathlib import Path

import pytest

from mmkit.annotators.base import Annotator, Failed
from mmkit.data.lines import numbered_lines
from mmkit.data.reader import Guess, Reader
from mmkit.data.types import Example, Image
from mmkit.errors import DataError
from mmkit.metrics.base import Metric
from mmkit.metrics.span_f1 import SpanF1
from mmkit.testing import check_annotator, check_metric, check_reader


def test_readers_pass(tmp_path: Path) -> None:
    check_reader("mmkit.mnre.v1", folder=tmp_path / "mnre")
    check_reader("mmkit.jmere.v1", folder=tmp_path / "one value", lazy=False)


def test_annotators_pass(tmp_path: Path) -> None:
    check_annotator("mmkit.name_candidates.v1", folder=tmp_path)


@pytest.mark.parametrize(
    "name", ["mmkit.span_f1.v1", "mmkit.relation_f1.v1", "mmkit.linking.v1", "mmkit.joint_f1.v1"]
)
def test_metrics_pass(name: str) -> None:
    check_metric(name)


class Lines(Reader):
    """A sentence a line."""

    def __iter__(self):
        self.repairs.clear()
        for number, line in numbered_lines(self.path):
            yield from self.example(number, line)

    def example(self, number, line):
        if not line:
            self.repairs["empty line skipped"] += 1
        elif line == "!":
            raise DataError("a bad line", where=f"{self.path}:{number}")
        else:
            image = Image(None if self.blank_images else "a.png")
            yield Example.from_tokens(f"{self.file}:{number}", line.split(), images=(image,))

    @classmethod
    def sample(cls, folder, seed):
        folder.mkdir(parents=True)
        (folder / "train.txt").write_text("a b\nc d\ne f\n", encoding="utf-8")
        return {"train": {"root": str(folder), "file": "train.txt"}}


class Once(Lines):
    """Its lines are opened by the first iteration alone."""

    lines = None

    def __iter__(self):
        self.lines = self.lines or numbered_lines(self.path)
        for number, line in self.lines:
            yield from self.example(number, line)


class Eager(Lines):
    def __iter__(self):
        yield from list(super().__iter__())


class Nowhere(Lines):
    def example(self, number, line):
        if line == "!":
            raise DataError("a bad line")
        yield from super().example(number, line)


class Raises(Lines):
    def example(self, number, line):
        if line == "!":
            raise KeyError(line)
        yield from super().example(number, line)


class Counts(Lines):
    """Repairs of all iterations add up."""

    def __iter__(self):
        for number, line in numbered_lines(self.path):
            yield from self.example(number, line)


class Silent(Lines):
    def example(self, number, line):
        if line:
            yield from super().example(number, line)


class Opens(Lines):
    def __init__(self, root, file, blank_images=False):
        super().__init__(root, file, blank_images)
        self.size = self.path.stat().st_size


class Chance(Lines):
    @classmethod
    def sample(cls, folder, seed):
        splits = super().sample(folder, seed)
        (folder / "train.txt").write_text(f"a {random.random()}\nb\n", encoding="utf-8")
        return splits


class Same(Lines):
    def example(self, number, line):
        return super().example(1, line)


class Pictured(Lines):
    def __init__(self, root, file, blank_images=False):
        super().__init__(root, file, False)


class Strict(Lines):
    @classmethod
    def recognize(cls, path, head):
        return Guess("sentences") if head.decode() else None


class Unfit(Lines):
    @classmethod
    def recognize(cls, path, head):
        return Guess("sentences", {"separator": ";"}) if head else None


@pytest.mark.parametrize(
    ("reader", "said"),
    [
        (Strict, "Strict: recognize: it raises UnicodeDecodeError"),
        (Unfit, "Unfit: recognize: its settings {'separator': ';'} do not read the file"),
        (Once, "Once: restarts: train gives"),
        (Eager, "Eager: lazy: no record comes before"),
        (Nowhere, "Nowhere: errors: the error does not name file and line: a bad line"),
        (Raises, "Raises: errors: a broken file raises KeyError"),
        (Counts, "Counts: repairs: they are {'empty line skipped': 1} and, of the same file again"),
        (Silent, "Silent: repairs: it does not count"),
        (Opens, "Opens: constructor: it looks at the disk"),
        (Chance, "Chance: sample: train is another one"),
        (Same, "Same: ids: ['train.txt:1'] occurs more than once"),
        (Pictured, "Pictured: blank_images: train still has ['a.png']"),
    ],
)
def test_broken_readers_are_noticed(reader: type[Reader], said: str, tmp_path: Path) -> None:
    given = {"broken": ["a b\n!\n"], "repaired": ["a b\n\nc\n"]}
    check_reader(Lines, folder=tmp_path / "whole", **given)
    with pytest.raises(AssertionError, match=re.escape(said)):
        check_reader(reader, folder=tmp_path / "broken", **given)


class Length(Annotator):
    """Notes how many words there are."""

    def fingerprint(self):
        return "length"

    def key(self, x):
        return x.text

    def annotate(self, batch):
        return [{"length": len(x.tokens)} for x in batch]

    def apply(self, x, result):
        return replace(x, notes={**x.notes, "length": result["length"]})


class Identity(Length):
    def fingerprint(self):
        return str(id(self))


class Drawn(Length):
    def key(self, x):
        return f"{x.text} {random.random()}"


class Keyless(Length):
    def key(self, x):
        return ""


class Short(Length):
    def annotate(self, batch):
        return super().annotate(batch)[:-1]


class Tuples(Length):
    def annotate(self, batch):
        return [{"length": (len(x.tokens),)} for x in batch]


class Sets(Length):
    def annotate(self, batch):
        return [{"length": {len(x.tokens)}} for x in batch]


class Batched(Length):
    def annotate(self, batch):
        return [{"length": len(batch)} for _ in batch]


class Changes(Length):
    def apply(self, x, result):
        x.notes["length"] = result["length"]
        return replace(x)


class Drops(Length):
    def apply(self, x, result):
        return x


class Renames(Length):
    def apply(self, x, result):
        return replace(x, id="new")


class Fails(Length):
    def annotate(self, batch):
        return [Failed("no luck") if len(x.tokens) < 3 else {"length": 1} for x in batch]


@pytest.mark.parametrize(
    ("annotator", "said"),
    [
        (Identity(), "Identity: fingerprint: it is '"),
        (Drawn(), "Drawn: key: that of example-0 is not the same every time"),
        (Keyless(), "Keyless: key: it is empty for every record"),
        (Short(), "Short: results: there are 3 results for 4 records"),
        (Tuples(), "Tuples: results: that of example-0 differs after it was written as JSON and read again"),
        (Sets(), "Sets: results: that of example-0 is not JSON"),
        (Batched(), "Batched: batches: example-0 has another result alone"),
        (Changes(), "Changes: apply: it changes its input record"),
        (Drops(), "Drops: apply: no record is changed"),
        (Renames(), "Renames: apply: of example-0 it makes Example 'new'"),
    ],
)
def test_broken_annotators_are_noticed(annotator: Annotator, said: str, tmp_path: Path) -> None:
    check_annotator(Length(), folder=tmp_path / "whole")
    check_annotator(Fails(), folder=tmp_path / "fails")
    with pytest.raises(AssertionError, match=re.escape(said)):
        check_annotator(annotator, folder=tmp_path / "broken")


class Keeps(SpanF1):
    def reset(self):
        if not hasattr(self, "_counts"):
            super().reset()


class Empties(SpanF1):
    def compute(self):
        found = super().compute()
        self.reset()
        return found


class Wrong(SpanF1):
    def compute(self):
        return {name: 1 - value for name, value in super().compute().items()}


class Percent(SpanF1):
    def compute(self):
        return {name: 100 * value for name, value in super().compute().items()}


class Blind(SpanF1):
    def compute(self):
        return dict.fromkeys(super().compute(), 0.5)


class Rates(Metric):
    """The mean of each batch's rate of right sentences; 0 / 0 of none."""

    def reset(self):
        self.rates = []

    __init__ = reset

    def update(self, examples, predictions):
        right = [set(e.spans) == set(p.spans) for e, p in zip(examples, predictions, strict=True)]
        self.rates.append(self.rate(right))

    def rate(self, right):
        return sum(right) / (1 + len(right))

    def compute(self):
        return {"rate": sum(self.rates) / max(1, len(self.rates))}


class Ordered(Rates):
    def rate(self, right):
        return right[0] / 2

    def compute(self):
        return {"rate": self.rates[0] if self.rates else 0.0}


class Undefined(Rates):
    def compute(self):
        return {"rate": sum(self.rates) / len(self.rates) if self.rates else float("inf")}


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        (Keeps(), "Keeps: reset: "),
        (Empties(), "Empties: asked twice: "),
        (Wrong(), "Wrong: higher is better: "),
        (Percent(), "Percent: rates: precision of right predictions is 100.0, not a number in [0, 1]"),
        (Blind(), "Blind: higher is better: no score of "),
        (Rates(), "Rates: batches: rate is"),
        (Ordered(), "Ordered: order: rate is 0.5 and 0 when examples come in another order"),
        (Undefined(), "Undefined: rates: rate of no examples is inf"),
    ],
)
def test_broken_metrics_are_noticed(metric: Metric, said: str) -> None:
    with pytest.raises(AssertionError, match=re.escape(said)):
        check_metric(metric)


def test_an_ordered_metric_may_say_so() -> None:
    check_metric(Ordered(), ordered=True)


def test_examples_of_the_kit_are_json() -> None:
    from mmkit.data.types import Prediction
    from mmkit.testing import stand_in_examples

    for example in stand_in_examples():
        assert json.loads(json.dumps(Prediction.of(example).to_dict()))["id"] == example.id
