"""`mmkit.blip_similarity.v1`: BLIP's score of how well a photo and a sentence fit together."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from torch.nn.functional import normalize

from mmkit.batch import Features
from mmkit.encoders.base import Encoder
from mmkit.encoders.blip_encoder import BlipEncoder
from mmkit.encoders.given_similarity import GivenSimilarity


class _Either(Encoder):
    """Makes an encoder of given numbers instead, if `given` is set; a separate class keeps the signature of
    `__init__`."""

    def __new__(cls, *arguments: Any, given: str | None = None, store: bool = True, **settings: Any) -> Any:
        return super().__new__(cls) if given is None else GivenSimilarity(given, store=store)


class BlipSimilarityEncoder(BlipEncoder, _Either):
    """One number for an example's first photo and text, by a frozen BLIP for retrieval (Li et al. 2022).

    `score` is `itc`, the cosine of the two projected features (text without photo), or `itm`, the probability that
    they match (text grounded in the photo). Both read the text's [CLS], as BLIP's own matching code does, and texts
    are cut to `max_length` tokens (there padded to it, which changes nothing). `name` is such a BLIP:
    Salesforce/blip-itm-base-coco is TESGA's `model_base_retrieval_coco`. A revision before April 2023 has a wrong
    number of heads in config.json.

    With `given`, the number is read from the example's note of that key, and no model is loaded: for scores that
    authors published with their data.

    Features: `similarity [B, 1, 1]`, and `mask [B, 1]`, false where the photo is blank: the number is then BLIP's for
    the text and the mean colour. For given numbers it is always true.
    """

    provides = frozenset({"similarity", "mask"})
    version: ClassVar[str] = "mmkit.blip_similarity.v1"
    dim = 1

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
        self.score = score

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "score": self.score}

    def network(self, items: Features) -> Features:
        """`similarity [N, 1]` of stacked pairs."""
        blip, image = self.backbone, self.image_states(items["pixels"])
        if self.score == "itm":
            grounded = self.text_states(items, image)
            return {"similarity": blip.itm_head(grounded[:, 0]).softmax(-1)[:, 1:]}
        text = self.text_states(items, None)
        photo, sentence = blip.vision_proj(image[:, 0]), blip.text_proj(text[:, 0])
        return {"similarity": (normalize(photo, dim=-1) * normalize(sentence, dim=-1)).sum(-1, keepdim=True)}
