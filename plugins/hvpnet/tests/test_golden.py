"""The authors' networks: with their weights, imported as a checkpoint's are, ours computes the same.

Each golden file holds inputs and outputs of their code; weights and pictures are regenerated from its salt.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import BertConfig, BertTokenizer

from golden import CLOSE, authors_state, golden_files, salt_of
from mmkit.batch import Batch, Features
from mmkit.decoders.base import Decoder
from mmkit.decoders.pair_classifier import PairClassifier
from mmkit.encoders.items import CollatedItems
from mmkit.encoders.timm_pyramid import TimmPyramidEncoder
from mmkit.encoders.transformer import TransformerEncoder
from mmkit.model import Model
from mmkit.runs.importing import load_converted
from mmkit_hvpnet.convert import HvpnetImporter, convert_state
from mmkit_hvpnet.fuser import VisualPrefix
from mmkit_hvpnet.taggers import SubwordCrfTagger

HEAD, TAIL = 196, 198  # ids of <s> and <o> in the golden vocabulary


def pictures(salt: int) -> Tensor:
    """A photo and three crops of each of three posts, `[3, 4, 3, 224, 224]`; one crop is missing."""
    photos = np.random.RandomState(200 + salt).standard_normal((3, 1, 3, 224, 224))
    crops = np.random.RandomState(300 + salt).standard_normal((3, 3, 3, 224, 224))
    crops[1, 2] = 0
    return torch.from_numpy(np.concatenate([photos, crops], axis=1).astype(np.float32))


def bert_folder(folder: Path) -> Path:
    """Configuration and tokenizer of the golden BERT: 200 words, the relation markers among them."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(5, HEAD))]
    words += ["<s>", "</s>", "<o>", "</o>"]
    BertConfig(vocab_size=200, intermediate_size=64).save_pretrained(folder)
    vocabulary = {word: i for i, word in enumerate(words)}
    BertTokenizer(vocab=vocabulary, model_max_length=512).save_pretrained(folder)
    return folder


def resnet_folder(folder: Path) -> Path:
    """Configuration of the ResNet-50, as a run keeps it."""
    cfg = timm.get_pretrained_cfg("resnet50.tv_in1k").to_dict()
    keys = ("input_size", "mean", "std", "interpolation", "crop_pct", "first_conv", "classifier")
    kept = {key: cfg[key] for key in keys}
    config = {"architecture": "resnet50", "model_args": {}, "pretrained_cfg": kept}
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def imported(task: str, salt: int, folder: Path, decoder: Decoder) -> Model:
    """mmkit's model with the authors' weights."""
    state = authors_state(f"hvpnet_{task}", salt)
    labels = HvpnetImporter().labels(state)
    text = TransformerEncoder(name="bert-base-uncased")
    text.build(decoder.special_tokens, saved=bert_folder(folder / "bert"))
    vision = TimmPyramidEncoder("resnet50.tv_in1k", objects=3)
    vision.build(saved=resnet_folder(folder / "resnet"))
    encoders = {"text": text, "vision": vision}
    fuser = VisualPrefix()
    fuser.build(encoders)
    decoder.build(fuser.dims, labels)
    model = Model(encoders, fuser, decoder, labels)
    load_converted(model, convert_state(state), folder)
    return model.eval()


def batch(golden: Features, items: Tensor, targets: Features) -> Batch:
    ids = golden["input_ids"]
    positions = torch.arange(ids.shape[1]).expand_as(ids)
    markers = [ids.eq(marker).int().argmax(1) for marker in (HEAD, TAIL)]
    text = {
        "input_ids": ids,
        "attention_mask": golden["attention_mask"],
        "token_type_ids": torch.zeros_like(ids),
        "word_index": positions,
        "first_subword": positions,
        "marker_index": torch.stack(markers, dim=1),
    }
    mask = torch.ones(items.shape[:2], dtype=torch.bool)
    vision = CollatedItems(mask, loaded={"pixels": items.flatten(0, 1)})
    return Batch((), {"text": text, "vision": vision.tensors()}, targets)


@pytest.mark.parametrize("file", golden_files("hvpnet_ner"))
def test_golden_ner(file: Path, tmp_path: Path) -> None:
    golden, salt = load_file(file), salt_of(file)
    decoder = SubwordCrfTagger(types=["MISC", "PER", "ORG", "LOC"])
    model = imported("ner", salt, tmp_path, decoder)
    given = batch(golden, pictures(salt), {"tags": golden["labels"]})
    with torch.no_grad():
        grid = model.named_encoders["vision"](given.inputs["vision"])["grid"]
        prefix = model.fuser.prefix(grid)
        states = model.fuser(model.named_encoders, given)
        emissions, mask = decoder.emissions(states)
        loss = decoder.loss(states, given.targets)["nll"]
        tags, _ = decoder.tag(emissions, mask)
    torch.testing.assert_close(prefix[0][0], golden["prefix_key_0"], **CLOSE)
    torch.testing.assert_close(prefix[11][1], golden["prefix_value_11"], **CLOSE)
    torch.testing.assert_close(states["tokens"][mask], golden["hidden"][mask], **CLOSE)
    torch.testing.assert_close(emissions[mask], golden["emissions"][mask], **CLOSE)
    torch.testing.assert_close(loss.reshape(1), golden["loss"], **CLOSE)
    assert torch.equal(tags[mask], golden["decoded"][mask])


@pytest.mark.parametrize("file", golden_files("hvpnet_re"))
def test_golden_re(file: Path, tmp_path: Path) -> None:
    golden, salt = load_file(file), salt_of(file)
    decoder = PairClassifier()
    model = imported("re", salt, tmp_path, decoder)
    given = batch(golden, pictures(salt), {"relation": golden["labels"]})
    with torch.no_grad():
        states = model.fuser(model.named_encoders, given)
        logits = decoder.logits(states)
        loss = decoder.loss(states, given.targets)["cross_entropy"]
    torch.testing.assert_close(logits, golden["logits"], **CLOSE)
    torch.testing.assert_close(loss.reshape(1), golden["loss"], **CLOSE)
