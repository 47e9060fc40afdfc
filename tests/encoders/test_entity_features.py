"""Features of a knowledge base: equal to encoding each entity, computed once, in any place."""

from __future__ import annotations

import pytest
import torch

from mmkit.data.knowledge import KnowledgeBase
from mmkit.data.types import Entity
from mmkit.encoders import entity_features
from mmkit.encoders.base import BLANK, ItemEncoder
from mmkit.encoders.entity_features import TrainedEntities, encode_entities
from mmkit.errors import MMKitError, PartError


class Letters(ItemEncoder):
    """Sums an embedding over a text's letters, and counts the items it encodes."""

    provides = frozenset({"pooled", "mask"})
    slots = 1

    def __init__(self, frozen=True, feature_dtype="float32"):
        super().__init__(feature_dtype)
        self.frozen, self.dim, self.encoded = frozen, 4, 0
        torch.manual_seed(0)
        self.table = torch.nn.Embedding(128, 4, padding_idx=0)
        self.requires_grad_(not frozen)

    def build(self, special_tokens=(), saved=None):
        pass

    def save(self, folder):
        pass

    def items(self, x):
        return [(x.description or BLANK, x.description)] * self.slots

    def load(self, raw):
        letters = [min(127, ord(c)) for c in raw[:8]]
        return torch.tensor(letters + [0] * (8 - len(letters)))

    def blank(self):
        return ""

    def network(self, stack):
        self.encoded += len(stack)
        return {"pooled": self.table(stack).sum(1)}

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
    rows = [encoder.network(encoder.load(e.description)[None])["pooled"][0] for e in base]
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


def test_a_damaged_file_is_computed_again(base, tmp_path):
    encode_entities(Letters(), base)
    (file, *_) = sorted((tmp_path / "cache" / "entities").rglob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:-3] + b"xyz")
    encoder = Letters()
    features = encode_entities(encoder, base)
    assert 0 < encoder.encoded <= 3
    torch.testing.assert_close(features.gather(torch.arange(8)), expected(encoder, base))


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
    encoder.slots = 2
    with pytest.raises(PartError, match="one vector"):
        encode_entities(encoder, base)


def test_a_place_that_cannot_be_written_is_named(base, tmp_path):
    (tmp_path / "cache" / "entities").mkdir(parents=True)
    (tmp_path / "cache" / "entities" / Letters().fingerprint()).write_text("a file")
    with pytest.raises(MMKitError, match="cannot write"):
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
