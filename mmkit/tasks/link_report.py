"""Mentions compared with a knowledge base: are their entities there, and among the candidates?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from mmkit.data.knowledge import KnowledgeBase
from mmkit.data.problems import Problem, counted
from mmkit.data.types import Example


@dataclass(frozen=True)
class LinkingReport:
    """Counts over one split's mentions."""

    mentions: int
    without_entity: int
    """The number of mentions without an entity."""
    unknown: list[str] = field(default_factory=list)
    """Entities of mentions that are not in the knowledge base, each once."""
    unknown_mentions: int = 0
    listed: int = 0
    """The number of mentions that list candidates."""
    candidates: float = 0.0
    """The average number of candidates in a list."""
    recall: float = 0.0
    """The share of these mentions whose own entity is in the list."""
    absent: int = 0
    """Candidates that are not in the knowledge base."""

    def summary(self) -> str:
        """One line for people."""
        said = f"{self.mentions:,} mentions"
        if self.listed:
            said += (
                f"; {self.listed:,} list candidates, {self.candidates:.1f} on average, "
                f"and {self.recall:.1%} of these list their own entity (candidate recall)"
            )
        return said


def link_problems(examples: Sequence[Example], found: LinkingReport) -> Iterator[Problem]:
    """What is missing: mentions without an entity, and entities that the knowledge base lacks."""
    hint = "leave such mentions out, or complete the knowledge base"
    if found.without_entity:
        have = counted(found.without_entity, "mention has", "mentions have")
        at = [(x.id, None) for x in examples if x.entity is None]
        yield Problem(f"{have} no entity", at, hint, code="task.no-entity")
    if found.unknown:
        shown = ", ".join(found.unknown[:5]) + (", ..." if len(found.unknown) > 5 else "")
        lacks = f"{counted(len(found.unknown), 'entity', 'entities')} of {found.unknown_mentions:,} mentions"
        unknown = set(found.unknown)
        at = [(x.id, None) for x in examples if x.entity in unknown]
        yield Problem(f"the knowledge base lacks {lacks}: {shown}", at, hint, code="task.no-entity")


def check_linking(examples: Sequence[Example], base: KnowledgeBase) -> LinkingReport:
    """Compare mentions and their candidates with the knowledge base."""
    linked = [example for example in examples if example.entity is not None]
    rows = base.rows(str(example.entity) for example in linked)
    unknown = [str(example.entity) for example, row in zip(linked, rows, strict=True) if row < 0]
    listed = [example for example in linked if example.candidates]
    ids = sorted({id for example in listed for id in example.candidates})
    absent = int(np.count_nonzero(base.rows(ids) < 0)) if ids else 0
    return LinkingReport(
        mentions=len(examples),
        without_entity=len(examples) - len(linked),
        unknown=list(dict.fromkeys(unknown)),
        unknown_mentions=len(unknown),
        listed=len(listed),
        candidates=sum(len(x.candidates) for x in listed) / len(listed) if listed else 0.0,
        recall=sum(x.entity in x.candidates for x in listed) / len(listed) if listed else 0.0,
        absent=absent,
    )
