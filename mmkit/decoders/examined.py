"""What decoders find wrong with training examples before anything is built: unknown labels, overlapping spans."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence

from mmkit.data.problems import At, Problem, counted
from mmkit.data.types import Example, Span
from mmkit.errors import near_misses


def type_problems(
    examples: Sequence[Example], types: Sequence[str] | None, setting: str = "model.decoder.types"
) -> Iterator[Problem]:
    """No span at all, and spans whose type is none of `types`, which the recipe's `setting` gives."""
    if not any(example.spans for example in examples):
        yield Problem(
            "no training example has a span",
            hint="is this the right file, with its labels?",
            code="task.no-spans",
        )
    if types is not None:
        at = [(x.id, s.start, s.label) for x in examples for s in x.spans if s.label not in types]
        yield from _unknown(at, types, "span", "type", setting, "task.unknown-span-type")
        yield from _unused(types, {span.label for x in examples for span in x.spans}, setting)


def overlap_problems(examples: Sequence[Example]) -> Iterator[Problem]:
    """Spans that tags cannot represent: nested or crossing ones, or two labels for one. Duplicates are counted."""
    kinds: Counter[str] = Counter()
    at: list[At] = []
    doubles: list[At] = []
    for example in examples:
        if len(example.spans) < 2:
            continue
        given = Counter(example.spans)
        doubles += [(example.id, span.start) for span, n in given.items() for _ in range(n - 1)]
        for span, kind in _overlapping(sorted(given)):
            kinds[kind] += 1
            at.append((example.id, span.start))
    if at:
        told = ", ".join(f"{count:,} {kind}" for kind, count in kinds.items())
        overlap = counted(len(at), "span overlaps another one", "spans overlap others")
        yield Problem(
            f"{overlap} ({told}); tags cannot say that",
            at,
            "remove nested and overlapping spans from the data, and keep one label for each span",
            code="task.span-overlap",
        )
    if doubles:
        repeated = counted(len(doubles), "span is", "spans are")
        yield Problem(
            f"{repeated} annotated a second time in the same example; each counts once",
            doubles,
            code="data.double-span",
            level="warning",
        )


def relation_problems(
    examples: Sequence[Example], known: Sequence[str] | None, setting: str = "model.decoder.relations"
) -> Iterator[Problem]:
    """No relation at all, and labels that are none of `known`, which the recipe's `setting` gives."""
    relations = [(x, relation) for x in examples for relation in x.relations]
    if not relations:
        yield Problem(
            "no training example has a relation", hint="is this the right file?", code="task.no-relations"
        )
    yield from _double_pairs(examples)
    if known is not None:
        at = [(x.id, r.head.start, r.label) for x, r in relations if r.label not in (None, *known)]
        yield from _unknown(at, known, "relation", "name", setting, "task.unknown-relation")
        yield from _unused(known, {relation.label for _, relation in relations}, setting)


def _double_pairs(examples: Sequence[Example]) -> Iterator[Problem]:
    """Pairs that occur twice in an example, with the same label or with another one."""
    again: list[At] = []
    differing: list[At] = []
    for example in examples:
        labels: dict[tuple[Span, Span], str | None] = {}
        for relation in example.relations if len(example.relations) > 1 else ():
            pair = relation.head, relation.tail
            if pair in labels:
                found = again if labels[pair] == relation.label else differing
                found.append((example.id, relation.head.start))
            labels.setdefault(pair, relation.label)
    if differing:
        have = counted(len(differing), "pair has", "pairs have")
        yield Problem(
            f"{have} a second, different relation in the same example: a classifier learns one for each pair",
            differing,
            "keep one relation for each pair",
            code="data.double-pair",
            level="warning",
        )
    if again:
        have = counted(len(again), "relation stands", "relations stand")
        yield Problem(
            f"{have} a second time in the same example; it is learnt twice and scored once",
            again,
            code="data.double-pair",
            level="warning",
        )


def _overlapping(spans: Sequence[Span]) -> Iterator[tuple[Span, str]]:
    """The spans that overlap an earlier one, and how; `spans` are different and in order."""
    reach: Span | None = None  # of those before, the one that goes furthest
    for span in spans:
        if reach is not None and span.start < reach.end:
            same = (span.start, span.end) == (reach.start, reach.end)
            nested = span.end <= reach.end or span.start == reach.start
            yield span, "with two labels" if same else "nested" if nested else "crossing"
        if reach is None or span.end > reach.end:
            reach = span


def _unknown(
    at: Sequence[tuple[str, int, str | None]],
    known: Sequence[str],
    thing: str,
    name: str,
    setting: str,
    code: str,
) -> Iterator[Problem]:
    """A problem for the labels `at` (record, token, label), none of which is `known`."""
    if not at:
        return
    counts = Counter(label or "" for *_, label in at)
    told = ", ".join(f"{label!r} ({count:,})" for label, count in counts.most_common(10))
    told += f" and {len(counts) - 10} more" if len(counts) > 10 else ""
    meant = {label: near for label in counts if (near := _meant(label, known))}
    did_you_mean = " or ".join(f"{near!r} for {label!r}" for label, near in list(meant.items())[:3])
    hint = f"did you mean {did_you_mean}? " if meant else ""
    have = counted(len(at), f"{thing} has a {name}", f"{thing}s have a {name}")
    yield Problem(
        f"{have} that is not in {setting} = {list(known)}: {told}",
        [(id, token) for id, token, _ in at],
        f"{hint}Rename the labels in the data, or add them to {setting}",
        code=code,
        rename={label: meant.get(label, "") for label in counts},
    )


def _unused(known: Sequence[str], shown: Collection[str | None], setting: str) -> Iterator[Problem]:
    """Labels that the recipe names but no training example has: a model does not learn them."""
    unused = [label for label in known if label not in shown]
    if unused and len(unused) < len(known):
        told = ", ".join(map(repr, unused))
        what = f"no training example has {told}, which {setting} names: a model cannot learn to find it"
        yield Problem(what, code="data.unused-label", level="warning")


def _meant(label: str, known: Sequence[str]) -> str:
    """The known label that is probably meant: one that differs only in case, else the nearest."""
    folded = [k for k in known if k.casefold().strip() == label.casefold().strip()]
    return next(iter([*folded, *near_misses(label, known, 1)]), "")
