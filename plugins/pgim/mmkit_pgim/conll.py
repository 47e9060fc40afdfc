"""`pgim.conll.v1`: the processed files of PGIM's authors: posts, each with a chat model's answer after it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from mmkit_more.conll import ConllContextsReader
from mmkit_pgim.notes import KNOWLEDGE


class ConllKnowledgeReader(ConllContextsReader):
    """Reads the files of `more.conll.v1`, in which a chat model's answer about a post is the context after it.

    The answer becomes the note `pgim.knowledge` (`context` names another one). The authors' files name no photos, so
    `images` is None; everything else is as in `more.conll.v1`.
    """

    source: ClassVar[str] = (
        "the authors' files are in data/data_PGIM of https://github.com/JinYuanLi0012/PGIM"
    )

    def __init__(
        self,
        root: str,
        file: str,
        *,
        context: str = KNOWLEDGE,
        images: str | None = None,
        rename: dict[str, str] | None = None,
        orphan_tags: Literal["open", "drop", "error"] = "open",
        tag_column: int | None = None,
        blank_images: bool = False,
    ) -> None:
        super().__init__(
            root,
            file,
            context=context,
            images=images,
            rename=rename,
            orphan_tags=orphan_tags,
            tag_column=tag_column,
            blank_images=blank_images,
        )

    @classmethod
    def sample(cls, folder: Path, seed: int) -> dict[str, dict[str, Any]]:
        from mmkit_pgim.sample import answered_posts

        return answered_posts(folder, seed)
