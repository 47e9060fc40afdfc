"""`views.tagger.v1`: a tagger that lets the text be read in three views."""

from __future__ import annotations

from mmkit import Example, TextView
from mmkit.decoders.crf_tagger import CrfTagger


class ViewsTagger(CrfTagger):
    """As `mmkit.crf_tagger.v1`, with the views `lower`, in small letters, and `backwards`, the last word first."""

    def views(self, example: Example) -> dict[str, TextView]:
        plain = TextView.of(example)
        lower = TextView(words=tuple(word.lower() for word in plain.words), index=plain.index)
        backwards = TextView(words=plain.words[::-1], index=plain.index[::-1])
        return {**super().views(example), "lower": lower, "backwards": backwards}
