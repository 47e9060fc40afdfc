"""What a report says about one run's results: kinds of errors, labels, and where the model is good and bad."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from mmkit import Example, Span
from mmkit.metrics.bootstrap import f1_interval
from mmkit_report.findings import Finding, What, kinds_for, kinds_of
from mmkit_report.scored import Scored
from mmkit_report.statistics.breakdown import FREQUENCIES, LENGTHS, Rates, by_size, grouped
from mmkit_report.statistics.calibration import calibration

MISSED, SPURIOUS = "(missed)", "(spurious)"
"""What stands in a confusion table where nothing was predicted, and where there is no gold item."""

Counts = tuple[int, int, int]


def analysis(scored: Scored, train: Sequence[Example] | None, resamples: int) -> dict[str, Any]:
    """Everything that is counted, as JSON. `train` are the training examples; None if they could not be read."""
    whats = {finding.what for found in scored.findings for finding in found}
    return {
        "figures": figures(scored, resamples),
        "items": [
            {
                "what": what,
                "kinds": kinds(scored, what),
                "labels": [] if what == "link" else labels(scored, what),
                "confusion": None if what == "link" else confusion(scored, what),
                "lengths": lengths(scored, what),
                "seen": None if train is None else seen(scored, what, train),
                "calibration": calibrated(scored, what),
            }
            for what in ("span", "relation", "link")
            if what in whats
        ],
    }


def figures(scored: Scored, resamples: int) -> list[dict[str, Any]]:
    """Scores by name, with the 95 % interval of those that follow from counts of examples."""
    bounds = {
        name: f1_interval(counts, resamples) for name, counts in scored.example_counts.items() if len(counts)
    }
    return [
        {"name": name, "value": value, **({"interval": bounds[name]} if name in bounds else {})}
        for name, value in scored.figures.items()
        if name.count(".") == 1
    ]


def _of(scored: Scored, what: What) -> Iterator[tuple[Example, Finding]]:
    for example, found in zip(scored.examples, scored.findings, strict=True):
        yield from ((example, finding) for finding in found if finding.what == what)


def kinds(scored: Scored, what: What) -> dict[str, int]:
    """How many findings there are of each kind that there can be, in the order of `KINDS`."""
    counts = kinds_of(finding for _, finding in _of(scored, what))
    return {kind: counts[kind] for kind in kinds_for(what, scored.boxes)}


def labels(scored: Scored, what: What) -> list[dict[str, Any]]:
    """Counts and rates of each label."""
    rows: list[tuple[str, Counts]] = []
    for _, finding in _of(scored, what):
        right = int(not finding.is_error)
        if finding.gold_label is not None:
            rows.append((finding.gold_label, (right, 0, 1)))
        if finding.predicted_label is not None:
            rows.append((finding.predicted_label, (0, 1, 0)))
    return [_rates(Rates(label, *counts)) for label, counts in sorted(grouped(rows).items())]


def confusion(scored: Scored, what: What) -> dict[str, Any]:
    """How often each gold label was given each label. Rows are gold labels, and `SPURIOUS`."""
    pairs = Counter(
        (finding.gold_label or SPURIOUS, finding.predicted_label or MISSED)
        for _, finding in _of(scored, what)
    )
    known = sorted({label for pair in pairs for label in pair} - {MISSED, SPURIOUS})
    rows, columns = [*known, SPURIOUS], [*known, MISSED]
    return {
        "rows": rows,
        "columns": columns,
        "counts": [[pairs.get((row, column), 0) for column in columns] for row in rows],
    }


def counts_of(found: Sequence[Finding]) -> Counts:
    """Correct, predicted and gold items among findings."""
    return (
        sum(not finding.is_error for finding in found),
        sum(finding.predicted is not None for finding in found),
        sum(finding.gold is not None for finding in found),
    )


def lengths(scored: Scored, what: What) -> list[dict[str, Any]]:
    """Rates by the number of tokens in the sentence."""
    rows = [
        (len(example.tokens), counts_of([finding for finding in found if finding.what == what]))
        for example, found in zip(scored.examples, scored.findings, strict=True)
    ]
    return [_rates(group) for group in by_size((row for row in rows if any(row[1])), LENGTHS)]


def seen(scored: Scored, what: What, train: Sequence[Example]) -> dict[str, Any]:
    """How many gold items are found, by how often their words (of a link: the entity) occur in the training data."""
    known: Counter[str] = Counter()
    labelled: set[tuple[str, str | None]] = set()
    for example in train:
        for words, label in _keys(example, what):
            known[words] += 1
            labelled.add((words, label))
    sizes, groups = [], []
    for example, finding in _of(scored, what):
        if finding.gold is None:
            continue
        words, label = _keys(example, what)[finding.gold]
        counts = (int(not finding.is_error), 0, 1)
        sizes.append((known[words], counts))
        group = "unseen" if words not in known else "seen with this label"
        if words in known and (words, label) not in labelled:
            group = "seen with other labels only"
        groups.append((group, counts))
    sums = grouped(groups)
    order = ("seen with this label", "seen with other labels only", "unseen")
    return {
        "frequencies": [_rates(group) for group in by_size(sizes, FREQUENCIES)],
        "groups": [_rates(Rates(group, *sums[group])) for group in order if group in sums],
    }


def _keys(example: Example, what: What) -> list[tuple[str, str | None]]:
    """(words, label) of each gold item of an example; words without regard to case."""
    if what == "link":
        return [(example.entity or "", example.entity)]
    if what == "span":
        return [(_words(example, span), span.label) for span in example.spans]
    return [
        (f"{_words(example, relation.head)} → {_words(example, relation.tail)}", relation.label)
        for relation in example.relations
    ]


def _words(example: Example, span: Span) -> str:
    return " ".join(example.tokens[span.start : span.end]).casefold()


def calibrated(scored: Scored, what: What) -> dict[str, Any] | None:
    """Calibration of the scores of predicted items; None if they have none.

    A score is about words and label: a span with the wrong box counts as right here.
    """
    told = [
        (finding.score, not finding.is_error or finding.kind == "wrong box")
        for _, finding in _of(scored, what)
        if finding.score is not None and 0 <= finding.score <= 1
    ]
    if not told:
        return None
    found = calibration([score for score, _ in told], [right for _, right in told])
    return {"bins": [asdict(each) for each in found.bins], "error": found.error}


def _rates(group: Rates) -> dict[str, Any]:
    return {**asdict(group), "precision": group.precision, "recall": group.recall, "f1": group.f1}
