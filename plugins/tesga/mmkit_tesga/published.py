"""Predictions for JMERE as TESGA's authors publish them: a JSON list with the gold triples, without positions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from mmkit.data.jmere import Ids, scores, words
from mmkit.data.json_text import read_json
from mmkit.data.node import Node
from mmkit.data.strings import STRINGS, Quintuple, Strings
from mmkit.data.types import Example, Prediction
from mmkit.errors import DataError


class PublishedForm:
    """For the hook `mmkit_prediction_forms`: a JSON list with gold data and predictions."""

    description = "the JSON list that TESGA's authors publish"

    def claims(self, line: str) -> bool:
        return line.startswith("[")

    def read(self, path: Path) -> Iterator[tuple[Example, Prediction]]:
        return read_published(path)


def read_published(path: Path | str) -> Iterator[tuple[Example, Prediction]]:
    """Each record's sentence with its gold annotations, and its prediction.

    Both give their entities and relations only by words, in the note `STRINGS`; ids are those of `mmkit.jmere.v1`,
    and there are no images. Predicted triples have no types. Raises `DataError` with the record's number from 0, and
    for JMERE's own files.
    """
    repairs = Counter[str]()
    ids = Ids(repairs)
    for number, item in enumerate(Node(read_json(Path(path)), str(path), "file").items()):
        record = Node(item.value, f"{path}, record {number}")
        if "target_list" not in record.object() and "triple_list" in record.object():
            raise DataError(
                "this is JMERE itself, without predictions",
                where=path,
                hint=f"as gold data convert it: mmkit convert {path} gold.jsonl --reader mmkit.jmere.v1",
                code="tesga.no-predictions",
            )
        id = ids.of(record["img_id"].text())
        gold = Strings.of_relations(record["target_list"])
        note = {STRINGS: gold.to_note(), **scores(record)}
        found = Strings(
            tuple(entity for node in record["pred_entity"].items() for entity in _entities(node)),
            tuple(_triple(node) for node in record["pred_triple"].items()),
        )
        yield (
            Example.from_tokens(id, words(record, repairs), notes=note),
            Prediction(id, notes={STRINGS: found.to_note()}),
        )


def _entities(node: Node) -> Iterator[tuple[str, str]]:
    return ((words, node[words].text()) for words in node.object())


def _triple(node: Node) -> Quintuple:
    parts = node.strings()
    if len(parts) != 3:
        node.fail("[head, relation, tail]")
    head, relation, tail = parts
    return head, relation, tail, None, None
