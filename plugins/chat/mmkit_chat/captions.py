"""`Blip2Annotator`: the base of annotators that ask BLIP-2 about photos and keep its answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from PIL import Image as Pillow

from mmkit.annotators.base import MadeBy
from mmkit.annotators.pictures import PictureAnnotator, first_photo, picture_key
from mmkit.annotators.pretrained import check_available, model_identity, model_version
from mmkit.data.types import Example


class Blip2Annotator(PictureAnnotator):
    """Asks BLIP-2 about the first photo of each example, and stores the answer as the note `note`.

    There is no note if the example has no photo or a blank one, or if the answer is empty. Missing and broken photos
    have no note either, and are reported. Answers come from greedy decoding. On a GPU they are computed in half
    precision; if two tokens are almost equally likely, the answer may then depend on the batch. Elsewhere they are
    computed in single precision.

    Subclasses say their registered name (`part`), the `note`, and the usual question (`usual`).

    Args:
        name: a BLIP-2 model of the Hub, or a folder that contains one.
        revision: the model's revision on the Hub.
        prompt: the question, up to the space before the answer; if empty, the model describes the photo.
        max_new_tokens: the largest number of tokens of an answer.
        batch_size: how many photos are processed together.
    """

    without: ClassVar[str] = "no caption"
    part: ClassVar[str]
    note: ClassVar[str]
    usual: ClassVar[str] = ""

    def __init__(
        self,
        name: str = "Salesforce/blip2-opt-2.7b",
        revision: str | None = None,
        prompt: str = "",
        max_new_tokens: int = 20,
        batch_size: int = 8,
    ) -> None:
        super().__init__()
        self.name, self.revision, self.prompt = name, revision, prompt
        self.max_new_tokens, self.batch_size = max_new_tokens, batch_size
        self._captioner: Callable[[Sequence[Pillow.Image], str, int], list[str]] | None = None

    @classmethod
    def sample(cls, folder: Path, seed: int, examples: Sequence[Example]) -> dict[str, Any]:
        """Save a tiny random BLIP-2 whose vocabulary comes from the examples."""
        from mmkit.encoders.sampling import make_once
        from mmkit_chat.blip2_stand_in import save_blip2

        texts = [cls.usual, *(example.text for example in examples)]
        make_once(folder, lambda made: save_blip2(made, seed, texts))
        return {"name": str(folder), "revision": None}

    def fingerprint(self) -> str:
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        settings = {
            "part": self.part,
            "model": self._identity,
            "revision": self.revision,
            "prompt": self.prompt,
            "max_new_tokens": self.max_new_tokens,
        }
        return json.dumps(settings, sort_keys=True)

    def key(self, x: Example) -> str:
        found = first_photo(x)
        return picture_key(found[1]) if found else ""

    def check_there(self) -> None:
        from mmkit_chat.blip2 import blip2_model

        model = blip2_model(self.name, self.revision)
        model.check(*model.needs)

    def check_computable(self) -> None:
        from mmkit_chat.blip2 import blip2_model

        check_available(blip2_model(self.name, self.revision))

    def prepare(self, device: str) -> None:
        from mmkit_chat.blip2 import Captioner  # transformers is imported only when a caption is missing

        if self._captioner is None:
            self._captioner = Captioner(self.name, self.revision, device)

    def annotate(self, batch: Sequence[Example]) -> list[dict[str, str]]:
        """For each example, the `caption` of its photo, or why the photo is `unreadable`."""
        assert self._captioner is not None, "prepare() comes first"
        photos = [(row, found[1]) for row, x in enumerate(batch) if (found := first_photo(x))]
        unreadable: list[list[Any]] = []
        opened = list(self.opened(photos, unreadable))
        captions = self._captioner([picture for _, picture in opened], self.prompt, self.max_new_tokens)
        results = {row: {"unreadable": reason} for row, reason in unreadable}
        results |= {row: {"caption": c} for (row, _), c in zip(opened, captions, strict=True)}
        return [results[row] for row in range(len(batch))]

    def made_by(self, result: dict[str, str]) -> MadeBy | None:
        if "caption" not in result:
            return None
        return MadeBy(self.name, build=model_version(self.name, self.revision, self._identity))

    @cached_property
    def _identity(self) -> str:
        return model_identity(self.name)  # once: it reads all weights of a folder

    def apply(self, x: Example, result: dict[str, str]) -> Example:
        """`x` with the caption as a note."""
        if "unreadable" in result and (found := first_photo(x)):
            self.remember(x.images, [(found[0], result["unreadable"])])
        caption = result.get("caption")
        return replace(x, notes={**x.notes, self.note: caption}) if caption else x
