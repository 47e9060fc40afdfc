"""`vlm.links.v1`: a model chooses a mention's entity among its candidates."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from mmkit.data.knowledge import KnowledgeBase
from mmkit.data.types import Entity, Example, Prediction
from mmkit.decoders.base import Labels
from mmkit.errors import PartError
from mmkit.tasks import LinkTask, Task
from mmkit_chat.messages import plain
from mmkit_vlm.decoder import ChatDecoder, object_of, one_of
from mmkit_vlm.reading import items, label_of
from mmkit_vlm.settings import ChatSettings, ShotSettings
from mmkit_vlm.shots import Shot

NONE = "none"
"""What the model may answer if no candidate is right."""

NO_CANDIDATES = "mentions without candidates"


class Links(ChatDecoder):
    """Asks a language model, or one that sees pictures, which of a mention's candidates it means.

    The question lists the first `candidates` of them with their names and the first `words` words of their
    descriptions. Examples need candidates: a reader or an annotator such as `mmkit.name_candidates.v1` gives them. The
    chosen entity is the first link, with score 1. The other candidates follow in their order, with scores below 0.5, so
    that ranks are known. If the model says that none is right, or its answer cannot be used, all candidates are in
    their order, with scores below 0.5. A mention without candidates is not asked about.
    """

    part = "vlm.links.v1"
    key = "links"
    usual: ClassVar[str] = "Say which entity the mention means, by the text and the picture, if there is one."
    task: Task = LinkTask()

    def __init__(
        self,
        chat: ChatSettings | None = None,
        shots: ShotSettings | None = None,
        describe: dict[str, str] | None = None,
        instruction: str = "",
        keep_going: bool = False,
        candidates: int = 20,
        words: int = 30,
    ) -> None:
        super().__init__(chat, shots, describe, instruction, keep_going)
        for name, number, least in (("candidates", candidates, 1), ("words", words, 0)):
            if number < least:
                raise PartError(
                    f"{name} must be at least {least}, not {number}", where=self.part, code="part.setting"
                )
        self.candidates, self.words = candidates, words

    def labels_of(self, example: Example) -> Sequence[str]:
        return ()

    def rules(self) -> str:
        return (
            'Answer only with JSON: {"entity": number of the candidate}. If no candidate is right, answer '
            f'{{"entity": "{NONE}"}}.'
        )

    def schema(self, example: Example) -> dict[str, Any]:
        return object_of(entity=one_of([*map(str, range(1, len(self._shown(example)) + 1)), NONE]))

    def asked(self, example: Example) -> str:
        mention = example.mention.text if example.mention is not None else ""
        return self._question(example.text, mention, self._shown(example))

    def right(self, example: Example) -> dict[str, Any] | None:
        shown = self._shown(example)
        return {"entity": str(shown.index(example.entity) + 1)} if example.entity in shown else None

    def shot(self, example: Example) -> Shot | None:
        """An example whose entity is one of its candidates. `build` makes its question, with the knowledge base."""
        right = self.right(example)
        if right is None:
            return None
        mention = example.mention.text if example.mention is not None else ""
        asked = json.dumps([mention, self._shown(example)], ensure_ascii=False)
        return Shot(example.text, asked, json.dumps(right), *self._pictures(example))

    def build(self, dims: Mapping[str, int], labels: Labels, entities: Sequence[Entity] = ()) -> None:
        super().build(dims, labels, entities)
        self.examples = [
            replace(s, question=self._question(s.text, *json.loads(s.question))) for s in self.examples
        ]

    def _question(self, text: str, mention: str, ids: Sequence[str]) -> str:
        lines = [f"Text: {plain(text)}", f"Mention: {plain(mention) or '(what the picture shows)'}"]
        for number, entity in enumerate(self._known(ids), start=1):
            about = " ".join(plain(entity.description).split()[: self.words])
            lines.append(f"{number}. {plain(entity.name)}" + (f": {about}" if about else ""))
        return "\n".join(lines)

    def unasked(self, example: Example) -> str:
        return "" if self._shown(example) else NO_CANDIDATES

    def read(self, value: dict[str, Any], example: Example, dropped: Counter[str]) -> Prediction:
        told = {k: str(v) if isinstance(v, int) and not isinstance(v, bool) else v for k, v in value.items()}
        shown, chosen = self._shown(example), None
        for (given,) in items({"one": [told]}, "one", ("entity",), dropped):
            names = [*map(str, range(1, len(shown) + 1)), NONE]
            label = label_of(given, names, dropped)
            chosen = shown[int(label) - 1] if label not in (None, NONE) else None
        rest = [id for id in dict.fromkeys(example.candidates) if id != chosen]
        scores = [0.5 * (len(rest) - i) / (len(rest) + 1) for i in range(len(rest))]
        if chosen is None:
            return Prediction(example.id, links=tuple(rest), link_scores=tuple(scores))
        return Prediction(example.id, links=(chosen, *rest), link_scores=(1.0, *scores))

    def nothing(self, example: Example) -> Prediction:
        """The candidates in their order."""
        return self.read({"entity": NONE}, example, Counter())

    def _shown(self, example: Example) -> tuple[str, ...]:
        return tuple(dict.fromkeys(example.candidates))[: self.candidates]

    def _known(self, ids: Sequence[str]) -> list[Entity]:
        """The entities of ids; one that the knowledge base does not have is only a name."""
        base = self.entities
        if isinstance(base, KnowledgeBase):
            rows = base.rows(ids).tolist()
            return [base[row] if row >= 0 else Entity(id, id) for row, id in zip(rows, ids, strict=True)]
        by_id = {entity.id: entity for entity in base if entity.id in ids}
        return [by_id.get(id, Entity(id, id)) for id in ids]
