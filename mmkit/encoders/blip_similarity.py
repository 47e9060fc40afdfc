"""`mmkit.blip_similarity.v1`: how well BLIP finds that a photo and a sentence go together."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from mmkit.batch import Features
from mmkit.data.types import Entity, Example
from mmkit.encoders.blip_pairs import BlipPairEncoder, LoadedPair
from mmkit.errors import DataError, near_misses


class BlipSimilarityEncoder(BlipPairEncoder):
    """One number for an example's first photo and text, by a frozen BLIP for retrieval (Li et al. 2022).

    `score` is `itc`, the cosine of the two projected features (text without photo), or `itm`, the probability that
    they match (text grounded in the photo). Both read the text's [CLS], as BLIP's own matching code does, and texts
    are cut to `max_length` tokens (there padded to it, which changes nothing). `name` is such a BLIP:
    Salesforce/blip-itm-base-coco holds TESGA's `model_base_retrieval_coco`. A revision of before April 2023 has a
    wrong number of heads in config.json.

    With `given`, the number is read from the example's note of that key, and no model is loaded: for scores that
    authors published beside their data.

    Features: `similarity [B, 1, 1]`, and `mask [B, 1]`, false where the photo is blank: the number is then BLIP's
    of the text and the mean colour. Given numbers are all real.
    """

    provides = frozenset({"similarity", "mask"})
    version: ClassVar[str] = "mmkit.blip_similarity.v1"

    def __init__(
        self,
        name: str,
        *,
        score: Literal["itc", "itm"] = "itc",
        given: str | None = None,
        revision: str | None = None,
        max_length: int = 35,
        store: bool = True,
    ) -> None:
        super().__init__(name, revision=revision, max_length=max_length, store=store)
        self.score, self.given = score, given
        self.reads_pictures = given is None
        self.dim = 1
        self.register_buffer("_place", torch.empty(0), persistent=False)

    @property
    def device(self) -> torch.device:
        """Where the weights are, or would be."""
        return self._place.device  # type: ignore[union-attr, return-value]

    # Nothing is built of given numbers

    def build(self, special_tokens: Sequence[str] = (), saved: Path | None = None) -> None:
        if self.given is None:
            super().build(special_tokens, saved)

    def save(self, folder: Path) -> None:
        if self.given is None:
            super().save(folder)

    def describe(self) -> dict[str, Any]:
        return {"given": True} if self.given is not None else {**super().describe(), "score": self.score}

    def identity(self, x: Example | Entity) -> Hashable:
        return super().identity(x) if self.given is None else self._noted(x, self.given)

    def items(self, x: Example | Entity) -> list[tuple[str, Any]]:
        """The pair; or the given number, which is its own key. Raises `DataError` for an example without it."""
        if self.given is None:
            return super().items(x)
        number = self._noted(x, self.given)
        return [(repr(number), number)]

    def _noted(self, x: Example | Entity, key: str) -> float:
        number = x.notes.get(key)
        if isinstance(number, int | float) and not isinstance(number, bool) and math.isfinite(number):
            return float(number)
        if number is not None:
            raise DataError(f"the note {key!r} is {number!r:.40}, not a number", where=x.id)
        near = near_misses(key, x.notes)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise DataError(
            f"there is no note {key!r}, which is to give the similarity of photo and text",
            where=x.id,
            hint=f"{hint}let the reader write it, or leave out `given` to have BLIP compute the similarity",
        )

    def load(self, raw: Any) -> Any:
        return super().load(raw) if self.given is None else raw

    def cost(self, raw: Any) -> int:
        return super().cost(raw) if self.given is None else 0

    def stacked(self, loaded: Sequence[LoadedPair] | Sequence[float]) -> Features:
        if self.given is None:
            return super().stacked(loaded)  # type: ignore[arg-type]
        return {"given": torch.tensor(loaded)}

    def network(self, stack: Features) -> Features:  # type: ignore[override]
        """`similarity [N, 1]` of stacked pairs, or of given numbers."""
        return {"similarity": stack["given"][:, None] if "given" in stack else self._scored(stack)}

    def _scored(self, stack: Features) -> Tensor:
        blip, image = self.backbone, self.image_states(stack["pixels"])
        if self.score == "itm":
            grounded = self.text_states(stack, image)
            return blip.itm_head(grounded[:, 0]).softmax(-1)[:, 1:]
        text = self.text_states(stack, None)
        photo, sentence = blip.vision_proj(image[:, 0]), blip.text_proj(text[:, 0])
        return (normalize(photo, dim=-1) * normalize(sentence, dim=-1)).sum(-1, keepdim=True)
