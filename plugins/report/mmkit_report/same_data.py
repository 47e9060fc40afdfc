"""Whether runs were scored on the same data: files, examples and gold annotations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmkit import Example, RunError
from mmkit_report.scored import Scored


def check_same_data(runs: Sequence[Scored]) -> None:
    """Raise `RunError` if a run was scored on other data than the first, and say which files differ."""
    first = runs[0]
    for other in runs[1:]:
        differences = differing_files(first.results.files, other.results.files)
        if differences:
            raise _other_data(first, other, f"other files of data.{first.split}: {'; '.join(differences)}")
        if told := _differing_examples(first.examples, other.examples):
            raise _other_data(
                first,
                other,
                f"the same files of data.{first.split}, but they were read in another way: {told}",
            )


def differing_files(one: Sequence[Mapping[str, Any]], other: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each file that differs between two lists of `file`, `sha256`, `variant`; files go by their names."""
    by_name = [{Path(str(file["file"])).name: file for file in files} for files in (one, other)]
    lines = []
    for name in dict.fromkeys([*by_name[0], *by_name[1]]):
        both = [files.get(name) for files in by_name]
        if both[0] is None or both[1] is None:
            lines.append(f"only {'the second' if both[0] is None else 'the first'} has {name}")
        elif both[0]["sha256"] != both[1]["sha256"]:
            told = " and ".join(_described(file) for file in both if file is not None)
            lines.append(f"{name} is {told}")
    if {file["sha256"] for file in one} == {file["sha256"] for file in other}:
        return []  # the same contents under other names
    return lines


def _described(file: Mapping[str, Any]) -> str:
    return f"{file['file']} ({file.get('variant') or 'unknown variant'}, sha256 {str(file['sha256'])[:12]})"


def _differing_examples(one: Sequence[Example], other: Sequence[Example]) -> str:
    """What is different in two lists of examples, in words; empty if nothing that is scored is."""
    if [x.id for x in one] != [x.id for x in other]:
        return f"{len(one):,} and {len(other):,} examples, or other ids"
    for a, b in zip(one, other, strict=True):
        if a.tokens != b.tokens:
            return f"{a.id} has other tokens"
        if (a.spans, a.relations, a.entity) != (b.spans, b.relations, b.entity):
            return f"{a.id} has other gold annotations"
    return ""


def _other_data(first: Scored, other: Scored, what: str) -> RunError:
    return RunError(
        f"this run and {first.name} were not scored on the same data: {what}",
        where=other.name,
        hint=f"only runs with the same data.{first.split} can be compared: train or evaluate them on the same files",
        code="report.other-data",
    )
