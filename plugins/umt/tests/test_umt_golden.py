"""The authors' network: with its weights, imported as a checkpoint's are, ours computes the same.

Each golden file holds inputs and outputs of their code; weights and visual features are regenerated from its salt.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import BertConfig, BertTokenizer

from golden import CLOSE, authors_state, golden_files, salt_of
from linking import Given, weighted
from mmkit.batch import Batch, Features
from mmkit.encoders.transformer import TransformerEncoder
from mmkit.model import Model
from mmkit.runs.importing import find_importer, load_converted
from mmkit_umt.fuser import Interaction
from mmkit_umt.tagger import SpanAidedTagger

CHANNELS = 2048


class Grid(Given):
    """Gives its inputs back as an image's feature map."""

    provides = frozenset({"grid", "mask"})


def bert_folder(folder: Path) -> Path:
    """Configuration and tokenizer of the golden BERT."""
    BertConfig(
        vocab_size=120,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=16,
    ).save_pretrained(folder)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(5, 120))]
    vocabulary = {word: i for i, word in enumerate(words)}
    BertTokenizer(vocab=vocabulary, model_max_length=16).save_pretrained(folder)
    return folder


def imported(salt: int, folder: Path) -> Model:
    """mmkit's model with the authors' weights."""
    importer, state = find_importer("umt"), authors_state("umt", salt)
    text = TransformerEncoder(name="bert-base-cased")
    text.build(saved=bert_folder(folder))
    encoders = {"text": text, "vision": Grid(CHANNELS)}
    fuser, decoder = Interaction(heads=4, hidden=48), SpanAidedTagger()
    fuser.build(encoders)
    labels = importer.labels(state)
    decoder.build(fuser.dims, labels)
    model = Model(encoders, fuser, decoder, labels)
    load_converted(model, importer.convert_state(state), folder)
    return model.eval()


def batch(golden: Features, salt: int) -> Batch:
    ids = golden["input_ids"]
    positions = torch.arange(ids.shape[1]).expand_as(ids)
    text = {
        "input_ids": ids,
        "attention_mask": golden["attention_mask"],
        "token_type_ids": torch.zeros_like(ids),
        "word_index": positions,
        "first_subword": positions,
    }
    visual = np.random.RandomState(200 + salt).standard_normal((3, 1, CHANNELS, 7, 7)).astype(np.float32)
    vision = {"grid": torch.from_numpy(visual), "mask": torch.ones(3, 1, dtype=torch.bool)}
    targets = {"tags": golden["labels"], "span_tags": golden["auxiliary_labels"]}
    return Batch((), {"text": text, "vision": vision}, targets)


@pytest.mark.parametrize("file", golden_files("umt"))
def test_golden_network(file: Path, tmp_path: Path) -> None:
    golden, salt = load_file(file), salt_of(file)
    model, given = imported(salt, tmp_path), batch(golden, salt)
    decoder, mask = model.decoder, golden["attention_mask"].bool()

    def close(ours: Tensor, name: str) -> None:
        real = slice(None) if name == "text_aware_visual" else mask
        torch.testing.assert_close(ours[real], golden[name][real], **CLOSE)

    with torch.no_grad():
        hidden = model.named_encoders["text"](given.inputs["text"])["tokens"]
        vision = given.inputs["vision"]
        every = model.fuser.interact(hidden, mask, vision["grid"], vision["mask"])
        states = model.fuser(model.named_encoders, given)
        emissions, _ = decoder.emissions(states)
        losses = decoder.loss(states, given.targets)
        decoded, _ = decoder.tag(emissions, mask)
    close(hidden, "hidden")
    close(every["auxiliary"], "auxiliary_hidden")
    close(every["main"], "main_hidden")
    for name in ("word_aware_visual", "text_aware_visual", "image_aware_text", "gate"):
        close(every[name], name)
    close(decoder.span_emissions(states)[0], "auxiliary_emissions")
    close(decoder.linear(states["tokens"]), "main_emissions")
    close(emissions, "emissions")
    torch.testing.assert_close(losses["nll"].reshape(1), golden["main_loss"].reshape(1), **CLOSE)
    torch.testing.assert_close(losses["span_nll"].reshape(1), golden["auxiliary_loss"].reshape(1), **CLOSE)
    assert torch.equal(decoded, golden["decoded"].long())
    for recipe in ("umt_twitter15", "umt_twitter17"):
        torch.testing.assert_close(weighted(losses, recipe), golden["loss"].reshape(1), **CLOSE)
