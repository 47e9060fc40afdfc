"""Items encoded in batches: all of them once, in order, and in smaller batches where they do not fit."""

from __future__ import annotations

import pytest
import torch

from mmkit.encoders import encoding
from mmkit.encoders.encoding import batch_for, encoded
from mmkit.encoders.item_encoder import ItemEncoder
from mmkit.encoders.items import ItemSource
from mmkit.errors import ImageError


class Lengths(ItemSource):
    """Texts as numbers of letters, padded to the longest of a stack."""

    def items(self, x, missing):
        raise NotImplementedError

    def identity(self, x):
        raise NotImplementedError

    def load(self, raw):
        raise NotImplementedError

    def blank(self):
        return ""

    def stack(self, loaded):
        letters = [torch.tensor([ord(c) for c in text]) for text in loaded]
        return {"letters": torch.nn.utils.rnn.pad_sequence(letters, batch_first=True)}


class Doubling(ItemEncoder):
    """Doubles every letter; more than `fits` items of a stack are too many for its memory."""

    provides = frozenset({"letters", "mask"})

    def __init__(self, fits: int = 1000) -> None:
        super().__init__(Lengths())
        self.fits, self.stacks = fits, []

    def build(self, special_tokens=(), saved=None): ...

    def save(self, folder): ...

    def describe(self):
        return {}

    def network(self, items):
        if len(items["letters"]) > self.fits:
            raise torch.OutOfMemoryError("too many")
        self.stacks.append(len(items["letters"]))
        return {"letters": 2 * items["letters"], "lengths": (items["letters"] > 0).sum(1)}


TEXTS = ["a", "bb", "ccc", "dddd", "eeeee", "ffffff", "ggggggg"]


def loaded(broken: str = ""):
    for text in TEXTS:
        yield text, ImageError("no picture", where=text) if text == broken else text


def texts_of(batches: list[encoding.Encoded]) -> dict[str, str]:
    return {
        key: "".join(chr(int(x) // 2) for x in row[:length])
        for batch in batches
        for key, row, length in zip(
            batch.keys,
            batch.features.get("letters", []),
            batch.features.get("lengths", []),
            strict=True,
        )
    }


@pytest.mark.parametrize(("fits", "stacks"), [(1000, [3, 3, 1]), (2, [1, 1, 1, 1, 1, 1, 1]), (1, [1] * 7)])
def test_all_items_are_encoded_once_in_order(fits, stacks):
    encoder = Doubling(fits)
    batches = list(encoded(encoder, loaded(), 3))
    assert [key for batch in batches for key in batch.keys] == TEXTS
    assert texts_of(batches) == {text: text for text in TEXTS}
    assert encoder.stacks == stacks


def test_a_size_that_did_not_fit_is_not_tried_again():
    encoder = Doubling(fits=3)
    batches = list(encoded(encoder, loaded(), 6))
    assert encoder.stacks == [3, 3, 1]
    assert texts_of(batches) == {text: text for text in TEXTS}
    assert [batch.total for batch in batches] == [6, 1]
    letters = batches[0].features["letters"]  # of two parts, padded to the longest
    assert letters.shape == (6, 6) and not letters[0, 1:].any()


def test_an_item_that_does_not_fit_alone_is_an_error():
    with pytest.raises(torch.OutOfMemoryError):
        list(encoded(Doubling(fits=0), loaded(), 4))


def test_broken_items_are_named():
    batches = list(encoded(Doubling(), loaded(broken="bb"), 2))
    assert [batch.keys for batch in batches] == [["a"], ["ccc", "dddd"], ["eeeee", "ffffff"], ["ggggggg"]]
    assert batches[0].broken.keys() == {"bb"} and batches[0].total == 2
    (nothing,) = encoded(Doubling(), iter([("bb", ImageError("no picture", where="bb"))]), 2)
    assert nothing.keys == [] and nothing.features == {} and nothing.total == 1


def test_batches_grow_with_a_gpu_s_free_memory():
    gpu = torch.device("cuda")
    assert batch_for(32, torch.device("cpu")) == batch_for(32, None) == 32
    sizes = [batch_for(32, gpu, gib << 30) for gib in (0, 4, 8, 24, 80, 140, 1000)]
    assert sizes == [32, 32, 32, 64, 256, 512, 512]
    for gib, size in zip((24, 80, 140), sizes[3:], strict=False):
        assert size // 32 * encoding.ROOM <= encoding.SHARE * (gib << 30)


def test_without_a_gpu_nothing_of_cuda_is_touched(monkeypatch):
    def refused(*_, **__):
        raise AssertionError("this is a CPU")

    for name in ("Stream", "stream", "current_stream"):
        monkeypatch.setattr(torch.cuda, name, refused)
    monkeypatch.setattr(torch.Tensor, "pin_memory", refused)
    assert texts_of(list(encoded(Doubling(), loaded(), 3))) == {text: text for text in TEXTS}
