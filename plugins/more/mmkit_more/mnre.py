"""`more.mnre.v1`: MNRE with retrieved contexts after the sentences."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from mmkit.data.mnre import MnreReader
from mmkit.errors import DataError
from mmkit_more.conll import ConllContextsReader
from mmkit_more.contexts import TEXT_CONTEXT
from mmkit_more.views import SEPARATOR


class MnreContextsReader(MnreReader):
    """Reads the lines of `mmkit.mnre.v1`, where a token `<EOS>` may end the sentence and begin a context.

    The tokens after it become the note `context`; head and tail must be before it. Lines without the token can be
    read too; their examples have no such note. `images` and `blank_images` are those of `mmkit.mnre.v1`.
    """

    source: ClassVar[str] = ConllContextsReader.source

    def __init__(
        self,
        root: str,
        file: str,
        *,
        context: str = TEXT_CONTEXT,
        images: str | None = "images",
        blank_images: bool = False,
    ) -> None:
        super().__init__(root, file, images=images, blank_images=blank_images)
        self.context = context

    def split(self, tokens: list[str], where: str) -> tuple[list[str], dict[str, Any]]:
        if SEPARATOR not in tokens:
            return tokens, {}
        end = tokens.index(SEPARATOR)
        if end == 0:
            raise DataError(
                f"a context without a sentence: {SEPARATOR} is the first token",
                where=where,
                code="more.no-sentence",
            )
        words = tokens[end + 1 :]
        return tokens[:end], {self.context: " ".join(words)} if words else {}

    @classmethod
    def sample(cls, folder: Path, seed: int) -> dict[str, dict[str, Any]]:
        from mmkit_more.sample import mnre_sample

        return mnre_sample(folder, seed)
