"""Base of decoders that see a pair by markers around its spans."""

from __future__ import annotations

from collections.abc import Sequence

from mmkit.data.types import Example, Span, TextView
from mmkit.decoders.pair_decoder import PairDecoder, pair_of
from mmkit.errors import RecipeError


class MarkedPairDecoder(PairDecoder):
    """Puts markers around the spans of a pair (Baldini Soares et al., 2019): `head_markers` and `tail_markers`.

    Everything else is in `PairDecoder`; subclasses say how the marked text is scored.
    """

    def __init__(
        self,
        *,
        relations: list[str] | None,
        none_label: str,
        head_markers: tuple[str, str],
        tail_markers: tuple[str, str],
    ) -> None:
        super().__init__(relations=relations, none_label=none_label)
        markers = (*head_markers, *tail_markers)
        if len(set(markers)) < 4 or not all(markers):
            raise RecipeError(
                f"head_markers and tail_markers must be four different tokens, not {list(markers)}",
                hint='such as head_markers = ["<s>", "</s>"] and tail_markers = ["<o>", "</o>"]',
                code="part.markers",
            )
        self.head_markers, self.tail_markers = head_markers, tail_markers

    @property
    def special_tokens(self) -> tuple[str, ...]:
        """The four markers."""
        return (*self.head_markers, *self.tail_markers)

    def views(self, example: Example) -> dict[str, TextView]:
        """`text`: the tokens with markers around both spans; `markers` are the two opening ones, the head's first."""
        return {"text": self.marked(example)}

    def marked(self, example: Example) -> TextView:
        """The example's tokens with the markers of its pair."""
        pair = pair_of(example)
        return mark(example.tokens, [(pair.head, self.head_markers), (pair.tail, self.tail_markers)])


def mark(tokens: Sequence[str], marked: Sequence[tuple[Span, tuple[str, str]]]) -> TextView:
    """The tokens with an opening and a closing marker around each span; `markers` are the opening ones.

    Nested spans get nested markers; of two equal spans the first is outside; if spans touch, one closes before the
    other opens. Only spans that cross each other have crossing markers.
    """
    order = range(len(marked))
    opening = sorted(order, key=lambda i: (marked[i][0].start, -marked[i][0].end, i))  # the outer first
    closing = sorted(order, key=lambda i: (marked[i][0].end, -marked[i][0].start, -i))  # the inner first
    words: list[str] = []
    index: list[int] = []
    markers = [0] * len(marked)
    for position in range(len(tokens) + 1):
        for i in closing:
            if marked[i][0].end == position:
                words.append(marked[i][1][1])
                index.append(-1)
        for i in opening:
            if marked[i][0].start == position:
                markers[i] = len(words)
                words.append(marked[i][1][0])
                index.append(-1)
        if position < len(tokens):
            words.append(tokens[position])
            index.append(position)
    return TextView(tuple(words), tuple(index), tuple(markers))
