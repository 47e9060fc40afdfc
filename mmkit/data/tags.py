"""Tags of CoNLL files: BIO, IOB1, BIOES, BILOU and BMES, and the spans that they mark."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from mmkit.data.types import Span
from mmkit.errors import DataError

Tag = tuple[str, str]
"""Prefix ("B", "I", "E", "S" or "O") and label."""

OUTSIDE: Tag = ("O", "")

PREFIXES = {"B": "B", "I": "I", "E": "E", "S": "S", "L": "E", "U": "S", "W": "S", "M": "I"}
"""The prefix of a tag in any scheme → the same in BIOES: `L` and `U` are BILOU's, `M` is BMES's."""

TAG = re.compile(rf"O|[{''.join(PREFIXES)}]-\S+")
"""What a tag looks like."""


def begin_with_tags(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first column of most rows is a tag, and no other column is."""
    tagged = (row for row in rows if len(row) > 1 and TAG.fullmatch(row[0]))
    found = sum(not any(map(TAG.fullmatch, row[1:])) for row in tagged)
    return bool(rows) and found >= 0.8 * len(rows)


def chunks(tags: Sequence[Tag]) -> tuple[list[Span], list[Span]]:
    """Spans as conlleval reads them, and those of them that an `I-` or `E-` opened.

    A span ends after E- and S-, and before O, B-, S- and an `I-` or `E-` of another label, which opens the next.
    """
    spans: list[Span] = []
    orphans: list[int] = []  # their places among the spans
    start, opener = 0, OUTSIDE
    for i, tag in enumerate((*tags, OUTSIDE)):
        if tag is opener and tag is OUTSIDE:  # the common case first
            continue
        prefix, label = tag
        if label != opener[1] or prefix in "BS":
            if opener is not OUTSIDE:
                spans.append(Span(start, i, opener[1]))
            start, opener = i, (OUTSIDE if prefix == "O" else tag)
            if prefix in "IE":
                orphans.append(len(spans))
        if prefix in "ES" and opener is not OUTSIDE:
            spans.append(Span(start, i + 1, opener[1]))
            opener = OUTSIDE
    return spans, [spans[i] for i in orphans]


def looks_like_iob1(sentences: Iterable[Sequence[Tag]]) -> bool:
    """Whether tags are IOB1 (Ramshaw and Marcus, 1995): `I-` opens a span, `B-` only if one touches another.

    True for files with 20 spans or more in which every `B-` comes directly after a span of the same label.
    """
    opened_by_i = touching = 0
    for tags in sentences:
        before = OUTSIDE
        for tag in tags:
            prefix, label = tag
            if prefix == "I" and label != before[1]:
                opened_by_i += 1
            elif prefix == "B":
                if label != before[1]:
                    return False
                touching += 1
            elif prefix in "ES":
                return False
            before = tag
    return opened_by_i >= 20 and touching <= opened_by_i


class TagTable(dict[str, Tag]):
    """Tag as written → parsed tag, filled when new tags occur; `prefixes` are those that a span's tags may have."""

    def __init__(self, rename: Mapping[str, str], prefixes: Iterable[str] = PREFIXES) -> None:
        super().__init__({"O": OUTSIDE})
        self.rename, self.prefixes = rename, tuple(prefixes)

    def parsed(self, tag: str, where: str, at_end: bool = False) -> Tag:
        """The parsed form of a tag that is not in the table yet. Raises `DataError` if it is not a tag.

        `at_end` says that the file ends with this tag, without a line end. A label that occurs only there, and is the
        beginning of another one, is an error: the file was probably cut off.
        """
        if tag not in self:
            prefix, _, label = tag.partition("-")
            if prefix not in self.prefixes or not label.strip() or label != label.strip():
                hint = "tags are O, B-TYPE and I-TYPE, or those of BIOES (E-, S-) and BILOU (L-, U-)"
                if prefix == tag and prefix.upper() in self.prefixes:
                    hint = f"the type is missing after {prefix!r}: {prefix}-TYPE"
                if (meant := _meant(tag, self.prefixes)) is not None:
                    told = f"write {meant!r} for {tag!r}, and all tags of its kind in this way; {hint}"
                    raise DataError(
                        f"the tag {tag!r} is written in another way",
                        where=where,
                        hint=told,
                        code="conll.tag-form",
                    )
                raise DataError(f"unknown tag {tag!r}", where=where, hint=hint, code="conll.unknown-tag")
            if at_end and (whole := self._begun(label)) is not None:
                raise DataError(
                    f"the file ends within a line, with the tag {tag!r}: it seems to be cut off within {whole!r}",
                    where=where,
                    hint=f"copy the file again; if {label!r} is a label, put a line end behind it",
                    code="conll.cut",
                )
            self[tag] = (PREFIXES[prefix], self.rename.get(label, label))
        return self[tag]

    def _begun(self, label: str) -> str | None:
        """A label of the table that begins with this one; None if there is none, or the table has this one too."""
        labels = {tag.partition("-")[2] for tag in self}
        longer = sorted(other for other in labels if other.startswith(label))
        return longer[0] if longer and label not in labels else None


_FORMS = re.compile(
    r"(?P<first>[A-Za-z])[-_:.](?P<label>\S+)|(?P<type>\S+)[-_:.](?P<last>[A-Za-z])|(?P<outside>[o0])"
)


def _meant(tag: str, prefixes: Sequence[str]) -> str | None:
    """The tag as it is written here, if it is one in another way: `b-PER`, `B_PER`, `PER-B`, `o`."""
    found = _FORMS.fullmatch(tag)
    if found is None:
        return None
    if found["outside"]:
        return "O"
    prefix, label = (found["first"], found["label"]) if found["first"] else (found["last"], found["type"])
    meant = f"{prefix.upper()}-{label}"
    return meant if prefix.upper() in prefixes and meant != tag else None
