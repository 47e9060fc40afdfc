"""`more.conll.v1`: the CoNLL files of MoRe's authors: sentences with retrieved contexts after them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

from mmkit.data.conll import ConllImagesReader, Sentence
from mmkit.data.tags import OUTSIDE, Tag, TagTable
from mmkit.errors import DataError
from mmkit_more.contexts import TEXT_CONTEXT
from mmkit_more.views import SEPARATOR

CONTEXT: Tag = ("X", "")
"""How the padding labels of a context are read."""

PADDING = ("X", "B-X", "I-X", "E-X", "S-X")


class ConllContextsReader(ConllImagesReader):
    """Reads the files of `mmkit.conll_images.v1`, in BIO or BIOES, where a context may follow a sentence in its block.

    The context begins at the first token with a padding label (`X` or `B-X`, `I-X`, `E-X`, `S-X`), which is the
    separator `<EOS>`, and continues to the end of the block. Without the separator it becomes the note `context`.
    Files without contexts can be read too; their examples have no such note. `images`, `rename`, `orphan_tags` and
    `blank_images` are those of `mmkit.conll_images.v1`.

    Raises `DataError` for a tag after the beginning of a context and for a separator that is part of a span.
    `repairs` counts: a block that is only context (skipped), a context without a separator, a separator tagged `O`
    before a context (dropped) or elsewhere (a word of the sentence).
    """

    source: ClassVar[str] = (
        "MoRe's processed data are linked from https://github.com/modelscope/AdaSeq/tree/master/examples/MoRe"
    )

    def __init__(
        self,
        root: str,
        file: str,
        *,
        context: str = TEXT_CONTEXT,
        images: str | None = "images",
        rename: dict[str, str] | None = None,
        orphan_tags: Literal["open", "drop", "error"] = "open",
        tag_column: int | None = None,
        blank_images: bool = False,
    ) -> None:
        super().__init__(
            root,
            file,
            images=images,
            rename=rename,
            orphan_tags=orphan_tags,
            tag_column=tag_column,
            blank_images=blank_images,
        )
        self.context = context

    def tag_table(self) -> TagTable:
        table = TagTable(self.rename)
        table.update(dict.fromkeys(PADDING, CONTEXT))
        return table

    def sentences(self) -> Iterator[Sentence]:
        for sentence in super().sentences():
            if CONTEXT in sentence.tags:
                self._take_context_off(sentence, sentence.tags.index(CONTEXT))
            if SEPARATOR in sentence.tokens:
                self._check_separator(sentence)
            if sentence.tokens:
                yield sentence
            else:
                self.repairs["context without a sentence skipped"] += 1

    def _take_context_off(self, sentence: Sentence, start: int) -> None:
        """Keep the tokens before `start` as the sentence, and the tokens after it as a note."""
        for i, tag in enumerate(sentence.tags[start:], start):
            if tag is not CONTEXT:
                raise DataError(
                    f"the tag {_written(tag)!r} comes after the beginning of a context",
                    where=f"{self.path}:{sentence.line_of(i)}",
                    hint=f"the context began on line {sentence.line_of(start)}; its tokens are all labelled X",
                    code="more.context-tag",
                )
        words = sentence.tokens[start:]
        if words[0] == SEPARATOR:
            words = words[1:]
        elif start and (sentence.tokens[start - 1], sentence.tags[start - 1]) == (SEPARATOR, OUTSIDE):
            self.repairs[f"{SEPARATOR} tagged O before a context dropped"] += 1
            start -= 1
        else:
            self.repairs[f"context without {SEPARATOR} before it"] += 1
        if words:
            sentence.notes[self.context] = " ".join(words)
        del sentence.tokens[start:], sentence.tags[start:]

    def _check_separator(self, sentence: Sentence) -> None:
        """Count separators among the sentence's words; refuse one that is part of a span."""
        for i, (token, tag) in enumerate(zip(sentence.tokens, sentence.tags, strict=True)):
            if token != SEPARATOR:
                continue
            if tag != OUTSIDE:
                raise DataError(
                    f"the separator {SEPARATOR} carries the tag {_written(tag)!r}",
                    where=f"{self.path}:{sentence.line_of(i)}",
                    hint="where a context begins it carries the label X",
                    code="more.separator-tag",
                )
            self.repairs[f"{SEPARATOR} without a context kept as a word"] += 1

    @classmethod
    def sample(cls, folder: Path, seed: int) -> dict[str, dict[str, Any]]:
        from mmkit_more.sample import conll_sample

        return conll_sample(folder, seed)


def _written(tag: Tag) -> str:
    return "-".join(part for part in tag if part)
