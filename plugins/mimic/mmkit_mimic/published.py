"""What both files of a dataset have in common: percent-encoded words, and the table of Wikidata ids."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from urllib.parse import unquote

from mmkit.data.json_text import read_json
from mmkit.data.node import Node

SOURCE = "the archives of MIMIC's authors are linked at https://github.com/pengfei-luo/MIMIC"


def rows_by_id(path: Path, repairs: Counter[str]) -> dict[str, int]:
    """Wikidata id → the number of its entity, from `qid2id.json`. Raises `DataError`."""
    table = Node(read_json(path, SOURCE, repairs), str(path)).object()
    return {qid: Node(number, str(path), qid).count() for qid, number in table.items()}


def names_of_rows(rows: dict[str, int]) -> dict[int, str]:
    """The number of an entity → its id here: the first of its Wikidata ids."""
    return {number: qid for qid, number in reversed(rows.items())}


def words(node: Node) -> str:
    """A name without its percent codes. Raises `DataError` for codes that are no text."""
    try:
        return unquote(node.text(), errors="strict").strip()
    except UnicodeDecodeError:
        node.fail("words in percent-encoded UTF-8, such as Caf%C3%A9")
