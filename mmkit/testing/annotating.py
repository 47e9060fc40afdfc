"""`check_annotator`: an annotator's keys, fingerprint and results."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmkit import registry
from mmkit.annotators.base import Annotator, Failed, MadeBy
from mmkit.data.types import Entity, Example
from mmkit.testing.checked import CheckedPart
from mmkit.testing.stand_ins import stand_in_entities, stand_in_examples, written_images


def check_annotator(
    annotator: str | Annotator,
    settings: Mapping[str, Any] | None = None,
    *,
    folder: Path,
    records: Sequence[Example | Entity] | None = None,
    entities: Sequence[Entity] | None = None,
    tolerance: float = 1e-4,
) -> None:
    """Check an annotator on examples with and without images, or on entities, if it annotates those.

    - `fingerprint` and `key` are strings that another one with the same settings gives too; the fingerprint is not
      empty, and one record at least has a key that is not.
    - There is a result for each record, and the same for a record alone, but for `tolerance` in numbers: a model rounds
      otherwise in a batch. A result is JSON, or `Failed`.
    - `made_by` takes a result that has been through JSON, and names a model or none.
    - `apply` takes a result that has been through JSON. It gives a record of the same kind and id, leaves the one that
      it is given as it is, and one record at least is changed.

    If the annotator is given by its name, `sample` gives stand-ins for pretrained models. `entities` are the
    knowledge base. Raises `AssertionError`.
    """
    if entities is None:
        entities = stand_in_entities()
    examples = written_images(stand_in_examples(), folder / "images")
    if isinstance(annotator, str):
        cls: type[Annotator] = registry.get("annotators", annotator)
        overrides = cls.sample(folder / "stand-in", 1, examples)
        settings = {**(settings or {}), **overrides}
    checked: CheckedPart[Annotator] = CheckedPart("annotators", annotator, settings)
    made, other = checked.fresh(), checked.fresh()
    made.entities, other.entities = entities, entities
    records = list(records or (examples if made.over == "examples" else entities))
    keys = _keys(checked, made, other, records)
    wanted = [record for record, key in zip(records, keys, strict=True) if key]
    before = copy.deepcopy(wanted)
    made.prepare("cpu")
    results = made.annotate(wanted)
    at = f"there are {len(results)} results for {len(wanted)} records"
    checked.must(len(results) == len(wanted), "results", at)
    changed = False
    for record, result in zip(wanted, results, strict=True):
        (alone,) = made.annotate([record])
        at = f"{record.id} has another result alone than in a batch"
        checked.must(_alike(alone, result, tolerance), "batches", at)
        if isinstance(result, Failed):
            continue
        changed |= _apply(checked, made, record, result) != record
    checked.must(wanted == before, "apply", "it changes its input record")
    checked.must(changed, "apply", "no record is changed by its result")
    checked.must(_keys(checked, made, other, records) == keys, "key", "it is different after annotating")
    made.finish()


def _keys(
    checked: CheckedPart[Annotator], made: Annotator, other: Annotator, records: Sequence[Any]
) -> list[str]:
    prints = made.fingerprint(), other.fingerprint()
    checked.must(isinstance(prints[0], str) and prints[0], "fingerprint", f"it is {prints[0]!r}")
    checked.must(
        prints[0] == prints[1], "fingerprint", f"it is {prints[0]!r} and, of the same settings, {prints[1]!r}"
    )
    keys = [made.key(record) for record in records]
    for record, key in zip(records, keys, strict=True):
        checked.must(isinstance(key, str), "key", f"that of {record.id} is {key!r}, not a string")
        same = key == made.key(record) == other.key(record)
        checked.must(same, "key", f"that of {record.id} is not the same every time")
    checked.must(any(keys), "key", "it is empty for every record")
    return keys


def _alike(one: Any, other: Any, tolerance: float) -> bool:
    """Whether results are the same, floats by `tolerance`, relative beyond 1."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=tolerance, abs_tol=tolerance)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_alike, one, other, [tolerance] * len(one)))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_alike(one[k], other[k], tolerance) for k in one)
    return bool(one == other)


def _apply(checked: CheckedPart[Annotator], annotator: Annotator, record: Any, result: Any) -> Any:
    try:
        read = json.loads(json.dumps(result))
    except (TypeError, ValueError) as error:
        checked.fail("results", f"that of {record.id} is not JSON ({error})")
    checked.must(
        read == result, "results", f"that of {record.id} differs after it was written as JSON and read again"
    )
    made_by = annotator.made_by(read)
    named = made_by is None or (isinstance(made_by, MadeBy) and made_by.model)
    checked.must(named, "made_by", f"of {record.id} it is {made_by!r}, not a `MadeBy` with a name")
    applied = annotator.apply(record, read)
    same = type(applied) is type(record) and applied.id == record.id
    checked.must(
        same, "apply", f"of {record.id} it makes {type(applied).__name__} {getattr(applied, 'id', '')!r}"
    )
    return applied
