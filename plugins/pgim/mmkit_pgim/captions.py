"""`pgim.captions.v1`: BLIP-2's captions of photos, or those that PGIM's authors published."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from mmkit.annotators.base import Failed, MadeBy
from mmkit.annotators.pictures import first_photo
from mmkit.data.fingerprints import file_sha256
from mmkit.data.types import Example
from mmkit_chat.captions import Blip2Annotator
from mmkit_pgim.caption_file import SOURCE, read_captions
from mmkit_pgim.colour_names import ColourNames, is_colour_names, save_colour_names
from mmkit_pgim.notes import CAPTION


class Captions(Blip2Annotator):
    """Notes a caption of the first photo of each example, as `pgim.caption` (PGIM; Li et al., EMNLP Findings 2023).

    BLIP-2 continues an empty text, by greedy decoding; the authors do not say which model and settings they used. With
    `file`, the captions are read from a file like the authors' `BLIP2_15.txt`. They are then found by the name of the
    photo, and the photos themselves are not opened. There is no note if an example has no photo or a blank one, or if
    the caption is empty. Photos that cannot be opened have no note either, and are reported. A photo that is not in
    `file` is an error unless `keep_going` is set.

    Args:
        name: a BLIP-2 model of the Hub, or a folder that contains one.
        revision: the model's revision on the Hub.
        file: a file of captions, instead of a model.
        max_new_tokens: the largest number of tokens of a caption.
        batch_size: how many photos are processed together.
        keep_going: whether photos that have no caption in `file` are only listed.
    """

    part: ClassVar[str] = "pgim.captions.v1"
    note: ClassVar[str] = CAPTION

    def __init__(
        self,
        name: str = "Salesforce/blip2-opt-2.7b",
        revision: str | None = None,
        file: str | None = None,
        max_new_tokens: int = 20,
        batch_size: int = 8,
        keep_going: bool = False,
    ) -> None:
        super().__init__(name, revision, prompt="", max_new_tokens=max_new_tokens, batch_size=batch_size)
        self.file, self.keep_going = file, keep_going

    @classmethod
    def sample(cls, folder: Path, seed: int, examples: Sequence[Example]) -> dict[str, Any]:
        """A stand-in that names the colour of a photo: a random BLIP-2 would say nothing about it."""
        from mmkit.encoders.sampling import make_once

        make_once(folder, save_colour_names)
        return {"name": str(folder), "revision": None, "file": None}

    def fingerprint(self) -> str:
        return super().fingerprint() if self.file is None else self._file_fingerprint

    @cached_property
    def _file_fingerprint(self) -> str:
        return json.dumps({"part": self.part, "file": file_sha256(self.file or "")}, sort_keys=True)

    @cached_property
    def published(self) -> dict[str, str]:
        """The captions in `file`, by the name of the photo."""
        return read_captions(self.file or "")

    def key(self, x: Example) -> str:
        return super().key(x) if self.file is None else named_photo(x)

    def check_there(self) -> None:
        if self.file is not None:
            _ = self.published
        elif not is_colour_names(self.name):
            super().check_there()

    def check_computable(self) -> None:
        if self.file is None and not is_colour_names(self.name):
            super().check_computable()

    def prepare(self, device: str) -> None:
        if self.file is not None:
            return
        if is_colour_names(self.name):
            self._captioner = ColourNames()
        super().prepare(device)

    def annotate(self, batch: Sequence[Example]) -> list[Any]:
        """For each example the `caption` of its photo, or why it is `unreadable`; `Failed` if `file` has none."""
        if self.file is None:
            return super().annotate(batch)
        return [self._of_file(named_photo(x)) for x in batch]

    def made_by(self, result: dict[str, str]) -> MadeBy | None:
        return super().made_by(result) if self.file is None else None

    def _of_file(self, photo: str) -> dict[str, str] | Failed:
        if photo in self.published:
            return {"caption": self.published[photo]}
        return Failed(f"{self.file} has no caption of the photo {photo!r} ({SOURCE})")


def named_photo(x: Example) -> str:
    """The name of the first photo's file without its ending; empty if there is no photo."""
    found = first_photo(x)
    return Path(str(found[1].path)).stem if found else ""
