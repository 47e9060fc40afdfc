"""Features of a knowledge base: equal to encoding each entity, computed once, in any place."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from mmkit.data.knowledge import KnowledgeBase
from mmkit.data.types import Entity, Image
from mmkit.encoders import entity_features
from mmkit.encoders.entity_features import TrainedEntities, encode_entities
from mmkit.encoders.item_encoder import ItemEncoder
from mmkit.encoders.items import BLANK, ItemSource
from mmkit.encoders.pictures import Pictures
from mmkit.encoders.texts import Texts
from raising import raises


class Spelt(ItemSource):
    """A description as the numbers of its first eight letters."""

    def __init__(self, slots=1, width=128):
        self.slots, self.width = slots, width

    def items(self, x, missing):
        return [(x.description or BLANK, x.description)] * self.slots

    def identity(self, x):
        return x.description

    def load(self, raw):
        letters = [ord(c) % self.width for c in raw[:8]]
        return torch.tensor(letters + [0] * (8 - len(letters)))

    def blank(self):
        return ""

    def stack(self, loaded):
        return {"letters": torch.stack(list(loaded))}


class Letters(ItemEncoder):
    """Sums an embedding over a text's letters, and counts the items it encodes."""

    provides = frozenset({"pooled", "mask"})

    def __init__(self, frozen=True, feature_dtype="float32", source=None):
        super().__init__(source or Spelt(), frozen=frozen, feature_dtype=feature_dtype)
        self.dim, self.encoded = 4, 0
        torch.manual_seed(0)
        self.table = torch.nn.Embedding(128, 4, padding_idx=0)
        self.requires_grad_(not frozen)

    def build(self, special_tokens=(), saved=None):
        pass

    def save(self, folder):
        pass

    def network(self, items):
        self.encoded += len(items["letters"])
        return {"pooled": self.table(items["letters"]).sum(1)}

    def describe(self):
        return {}

    def of(self, text):
        return self.encode(self.source.stack([self.source.load(text)]))["pooled"][0]


class SpeltTexts(Texts):
    """Texts under a source as numbers of letters, without a tokenizer."""

    def load(self, raw):
        return Spelt().load(raw)

    def stack(self, loaded):
        return Spelt().stack(loaded)

    def describe(self):
        return {}


class Colours(ItemEncoder):
    """The mean colour of a picture."""

    def __init__(self):
        super().__init__(Pictures())
        self.dim, self.one = 3, torch.nn.Parameter(torch.ones(1))
        self.source.set_transform(
            lambda picture: torch.tensor(np.asarray(picture) / 255.0).permute(2, 0, 1).float(), (3, 4, 4)
        )

    def build(self, special_tokens=(), saved=None):
        pass

    def save(self, folder):
        pass

    def network(self, items):
        return {"pooled": self.one * items["pixels"].mean((2, 3))}

    def describe(self):
        return {}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MMKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(entity_features, "CHUNK", 3)


@pytest.fixture
def base(tmp_path):
    texts = ["a", "bcd", "", "zz", "a", "hello", "x", "y"]
    return KnowledgeBase.build(tmp_path / "base", [Entity(f"Q{i}", "n", (), t) for i, t in enumerate(texts)])


def expected(encoder, base):
    source = encoder.source
    rows = [encoder.network(source.stack([source.load(e.description)]))["pooled"][0] for e in base]
    return torch.stack(rows).detach()


@pytest.mark.parametrize("placed", [False, True])
def test_they_are_what_the_encoder_makes_of_each_entity(base, placed):
    encoder = Letters()
    features = encode_entities(encoder, base, batch_size=2)
    assert features.place("cpu", 1e9) or not placed
    if not placed:
        assert not features.place("cpu", 1)
    whole = expected(encoder, base)
    rows = torch.tensor([[7, 0], [2, 2], [3, 5]])
    torch.testing.assert_close(features.gather(rows), whole[rows])
    parts = list(features.blocks())
    torch.testing.assert_close(torch.cat([block for _, block in parts]), whole)
    assert [first for first, _ in parts] == ([0] if placed else [0, 3, 6])
    assert len(features) == len(base) and features.dim == 4
    assert not features.gather(torch.tensor(2)).any()  # no text: the zero vector


def test_placed_features_are_gathered_where_they_are(base, monkeypatch):
    """A loss does not wait for the device: no row goes through the host."""
    features = encode_entities(Letters(), base)
    features.place("cpu", 1e9)
    expected = features.gather(torch.tensor([5, 1]))

    def refused(self):
        raise AssertionError("rows were copied to the host")

    for name in ("cpu", "tolist", "item", "unique"):
        monkeypatch.setattr(torch.Tensor, name, refused)
    assert torch.equal(features.gather(torch.tensor([5, 1])), expected)


def test_they_are_computed_once(base):
    encoder = Letters()
    encode_entities(encoder, base)
    assert encoder.encoded == 7  # of eight entities one is blank
    again = Letters()
    encode_entities(again, base)
    assert again.encoded == 0


def test_a_longer_knowledge_base_takes_over_what_it_shares(base, tmp_path):
    encode_entities(Letters(), base)
    longer = KnowledgeBase.build(tmp_path / "longer", [*base, Entity("Q8", "n", (), "new")])
    encoder = Letters()
    features = encode_entities(encoder, longer)
    assert encoder.encoded == 3  # the last chunk
    torch.testing.assert_close(features.gather(torch.arange(9)), expected(encoder, longer))


def test_a_killed_process_loses_a_chunk(base, monkeypatch):
    class StoppedError(Exception):
        pass

    def stop(done, total):
        if done == 6:
            raise StoppedError

    with pytest.raises(StoppedError):
        encode_entities(Letters(), base, progress=stop)
    encoder = Letters()
    encode_entities(encoder, base)
    assert encoder.encoded == 2


def test_several_share_the_work(base):
    """Neither goes on before both have begun a file: if one waited for the other's, nobody would."""
    both = threading.Barrier(2, timeout=60)

    class Meeting(Letters):
        def network(self, items):
            if not self.encoded:
                both.wait()
            return super().network(items)

    encoders = [Meeting(), Meeting()]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda encoder: encode_entities(encoder, base), encoders))
    assert sum(encoder.encoded for encoder in encoders) == 7  # nothing twice
    for features in found:
        torch.testing.assert_close(features.gather(torch.arange(8)), expected(Letters(), base))


def test_what_another_leaves_unfinished_is_computed(base, tmp_path):
    """A process claims the first file and is killed while the others are computed."""
    stopped = subprocess.run([sys.executable, "-c", CLAIMING, _first_file(base, tmp_path)], check=False)
    assert stopped.returncode == -9
    encoder = Letters()
    features = encode_entities(encoder, base)
    assert encoder.encoded == 7
    torch.testing.assert_close(features.gather(torch.arange(8)), expected(encoder, base))
    assert not list((tmp_path / "cache").rglob(".*.lock"))


CLAIMING = """
import os, sys
from pathlib import Path
from mmkit.encoders.shards import claimed

with claimed(Path(sys.argv[1]), wait=False) as mine:
    assert mine
    os.kill(os.getpid(), 9)
"""


def _first_file(base, tmp_path) -> str:
    """Where the features of the first entities will be."""
    encode_entities(Letters(), base)
    files = sorted((tmp_path / "cache" / "entities").rglob("*.safetensors"))
    (first,) = (file for file in files if torch.equal(_rows(file), expected(Letters(), base)[:3]))
    for file in files:
        file.unlink()
    return str(first)


def _rows(file) -> torch.Tensor:
    return entity_features._read_chunk(file).tensors["pooled"]


def test_a_damaged_file_is_computed_again(base, tmp_path):
    encode_entities(Letters(), base)
    (file, *_) = sorted((tmp_path / "cache" / "entities").rglob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:-3] + b"xyz")
    encoder = Letters()
    features = encode_entities(encoder, base)
    assert 0 < encoder.encoded <= 3
    torch.testing.assert_close(features.gather(torch.arange(8)), expected(encoder, base))


def test_files_that_changed_places_are_computed_again(base, tmp_path):
    encode_entities(Letters(), base)
    one, other, *_ = sorted((tmp_path / "cache" / "entities").rglob("*.safetensors"))
    first = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(first)
    encoder = Letters()
    features = encode_entities(encoder, base)
    assert encoder.encoded > 0
    torch.testing.assert_close(features.gather(torch.arange(8)), expected(encoder, base))


@pytest.mark.parametrize(
    "damage", ["order", "[]", "{}", "[" * 100_000, '{"files": 3, "check": 0}', "7", "null"]
)
def test_a_damaged_list_of_files_is_made_again(base, tmp_path, damage):
    whole = encode_entities(Letters(source=SpeltTexts("description")), base)
    (contents,) = (tmp_path / "cache" / "entities").rglob("*.json")
    listed = json.loads(contents.read_text())
    assert len(listed["files"]) > 1
    listed["files"].reverse()
    contents.write_text(json.dumps(listed) if damage == "order" else damage)
    encoder = Letters(source=SpeltTexts("description"))
    features = encode_entities(encoder, base)
    assert encoder.encoded == 0
    torch.testing.assert_close(features.gather(torch.arange(8)), whole.gather(torch.arange(8)))


def test_a_list_of_files_of_before_is_read(base, tmp_path):
    encode_entities(Letters(source=SpeltTexts("description")), base)
    (contents,) = (tmp_path / "cache" / "entities").rglob("*.json")
    contents.write_text(before := json.dumps(json.loads(contents.read_text())["files"]))
    encode_entities(Letters(source=SpeltTexts("description")), base)
    assert contents.read_text() == before


def test_other_weights_are_other_features(base):
    encode_entities(Letters(), base)
    other = Letters()
    other.table.weight.data += 1
    encode_entities(other, base)
    assert other.encoded == 7


def test_half_precision_is_kept_as_such(base):
    encoder = Letters(feature_dtype="float16")
    features = encode_entities(encoder, base)
    assert {block.dtype for _, block in features.blocks()} == {torch.float16}
    assert features.gather(torch.tensor([1])).dtype == torch.float32


def test_several_vectors_an_entity_are_refused(base):
    encoder = Letters()
    encoder.source.slots = 2
    with raises("encoder.several-vectors"):
        encode_entities(encoder, base)


def test_a_place_that_cannot_be_written_is_named(base, tmp_path):
    (tmp_path / "cache" / "entities").mkdir(parents=True)
    (tmp_path / "cache" / "entities" / Letters().fingerprint()).write_text("a file")
    with raises("file.unwritable"):
        encode_entities(Letters(), base)


def test_a_trained_encoder_follows_its_weights(base):
    encoder = Letters(frozen=False)
    features = TrainedEntities(encoder, base)
    rows = torch.tensor([1, 2, 1])
    features.gather(rows).sum().backward()
    assert encoder.table.weight.grad is not None and encoder.table.weight.grad.any()
    torch.testing.assert_close(torch.cat([b for _, b in features.blocks()]), expected(encoder, base))
    features.gather(rows)
    encoder.table.weight.data += 1
    with torch.no_grad():
        encoder.table.weight[0] = 0
    found = torch.cat([block for _, block in features.blocks()])
    torch.testing.assert_close(found, expected(encoder, base))


def test_texts_of_another_source_are_other_features(base, tmp_path):
    descriptions, names = (Letters(source=SpeltTexts(name)) for name in ("description", "name"))
    assert descriptions.fingerprint() == names.fingerprint()  # one network
    encode_entities(descriptions, base)
    features = encode_entities(names, base)
    torch.testing.assert_close(features.gather(torch.tensor([5])), names.of("n")[None])


def test_features_of_texts_are_found_without_reading_the_entities_again(base, monkeypatch):
    first = encode_entities(Letters(source=SpeltTexts("description")), base)
    monkeypatch.setattr(KnowledgeBase, "__getitem__", None)
    again = encode_entities(Letters(source=SpeltTexts("description")), base)
    rows = torch.arange(8)
    torch.testing.assert_close(again.gather(rows), first.gather(rows))


def test_a_picture_that_changes_is_encoded_again(tmp_path):
    base = KnowledgeBase.build(tmp_path / "b", [Entity("Q1", "n", images=(Image(str(tmp_path / "a.png")),))])
    encoder = Colours()
    encoder.missing.policy = "blank"
    assert not encode_entities(encoder, base).gather(torch.tensor([0])).any()
    Pillow.new("RGB", (4, 4), (255, 0, 0)).save(tmp_path / "a.png")
    red = encode_entities(encoder, base).gather(torch.tensor([0]))
    torch.testing.assert_close(red, torch.tensor([[1.0, 0, 0]]))
    Pillow.new("RGB", (4, 4), (0, 0, 255)).save(tmp_path / "a.png")
    blue = encode_entities(encoder, base).gather(torch.tensor([0]))
    torch.testing.assert_close(blue, torch.tensor([[0.0, 0, 1]]))


def test_a_broken_picture_is_zeros_only_where_blanks_may_stand_in(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    base = KnowledgeBase.build(tmp_path / "b", [Entity("Q1", "n", images=(Image(str(tmp_path / "a.png")),))])
    encoder = Colours()
    encoder.missing.policy = "blank"
    assert not encode_entities(encoder, base).gather(torch.tensor([0])).any()
    encoder.missing.policy = "error"
    with raises("image.unusable", match=r"a\.png"):
        encode_entities(encoder, base)


def test_predicting_with_a_trained_encoder_computes_features_once(base):
    encoder = Letters(frozen=False).eval()
    features = TrainedEntities(encoder, base)
    with torch.inference_mode():
        for _ in range(2):
            found = features.gather(torch.tensor([1, 5]))
            whole = torch.cat([block for _, block in features.blocks()])
            assert torch.equal(whole[[1, 5]], found)  # also in the last bit, for ties are counted
    assert encoder.encoded == len(base)


@pytest.mark.parametrize("fused", [False, True])
def test_an_update_of_any_kind_is_followed(base, fused):
    encoder = Letters(frozen=False)
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=0.1, fused=fused)
    features = TrainedEntities(encoder, base)
    before = torch.cat([block for _, block in features.blocks()])
    features.gather(torch.tensor([1, 5])).sum().backward()
    optimizer.step()
    after = torch.cat([block for _, block in features.blocks()])
    assert not torch.equal(before, after)
    torch.testing.assert_close(after, expected(encoder, base))


def test_what_cannot_be_trained_on_entities_is_refused(base):
    with raises("encoder.trained-pictures"):
        TrainedEntities(Colours(), base)
    encoder = Letters(frozen=False)
    encoder.source.slots = 2
    with raises("encoder.several-vectors"):
        TrainedEntities(encoder, base)
