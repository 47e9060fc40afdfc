"""`dim.blip2_captions.v1`: asks BLIP-2 who is in a photo."""

from __future__ import annotations

from typing import ClassVar

from mmkit_chat.captions import Blip2Annotator

NOTE = "dim.caption"
"""Note key: the answer as a string. Text encoders read it with `source = "note:dim.caption"`."""

PROMPT = "Question:  Who are the characters in the picture? Answer: "
"""The question in the authors' code. The double space and the space at the end are theirs."""


class Blip2Captions(Blip2Annotator):
    """Asks BLIP-2 about the first photo of each example, and stores the answer as the note `dim.caption`.

    DIM (Song et al., PRCV 2024) encodes the answer as one more text of the mention. There is no note if the example has
    no photo or a blank one, or if the answer is empty. Missing and broken photos have no note either, and are reported.
    Answers come from greedy decoding. On a GPU they are computed in half precision; if two tokens are almost equally
    likely, the answer may then depend on the batch. Elsewhere they are computed in single precision.

    Args:
        name: a BLIP-2 model of the Hub, or a folder that contains one.
        revision: the model's revision on the Hub.
        prompt: the question, up to the space before the answer.
        max_new_tokens: the largest number of tokens of an answer.
        batch_size: how many photos are processed together.
    """

    part: ClassVar[str] = "dim.blip2_captions.v1"
    note: ClassVar[str] = NOTE
    usual: ClassVar[str] = PROMPT

    def __init__(
        self,
        name: str = "Salesforce/blip2-opt-2.7b",
        revision: str | None = None,
        prompt: str = PROMPT,
        max_new_tokens: int = 20,
        batch_size: int = 8,
    ) -> None:
        super().__init__(name, revision, prompt, max_new_tokens, batch_size)
