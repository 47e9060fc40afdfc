"""Which models a text encoder loads: encoder-decoder and causal ones, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModel,
    AutoTokenizer,
    BartConfig,
    BartModel,
    GPT2Config,
    GPT2LMHeadModel,
    T5Config,
    T5ForConditionalGeneration,
)

from mmkit.data.types import Example
from mmkit.decoders.softmax_tagger import SoftmaxTagger
from mmkit.encoders.transformer import TransformerEncoder
from mmkit.fit import Parts, check_causal
from mmkit.fusers.pooled_query import PooledQuery
from mmkit.fusers.text_only import TextOnly
from raising import raises
from text_encoders import built, collate


@pytest.mark.parametrize("name", ["bert-base-uncaesd", "no/such-model", "./no/such/folder"])
def test_an_unknown_model_says_what_to_do(name: str) -> None:
    with raises("encoder.unloadable", match="check the name") as error:
        TransformerEncoder(name).build()
    assert name in error.value.what
    assert ("did you mean 'bert-base-uncased'" in error.value.hint) == name.startswith("bert")


def test_an_empty_folder_is_no_model(tmp_path: Path) -> None:
    with raises("encoder.unloadable", match=r"must contain config\.json"):
        TransformerEncoder(str(tmp_path)).build()


def of_kind(kind: str, tiny_bert: Path, folder: Path) -> Path:
    """A tiny model of another kind, with the tokenizer of the tiny BERT."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    tokens = len(tokenizer)
    torch.manual_seed(4)
    if kind == "T5":
        config = T5Config(vocab_size=tokens, d_model=16, d_kv=4, d_ff=16, num_layers=2, num_heads=4)
        T5ForConditionalGeneration(config).save_pretrained(folder)
    elif kind == "BART":
        layers = {"encoder_layers": 2, "decoder_layers": 1, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
        heads = {"encoder_attention_heads": 4, "decoder_attention_heads": 4, "max_position_embeddings": 64}
        marks = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
        BartModel(BartConfig(vocab_size=tokens, d_model=16, **layers, **heads, **marks)).save_pretrained(
            folder
        )
    else:
        config = GPT2Config(
            vocab_size=tokens, n_embd=16, n_layer=2, n_head=4, n_positions=64, bos_token_id=2, eos_token_id=3
        )
        GPT2LMHeadModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", ["T5", "BART"])
def test_of_an_encoder_decoder_model_the_encoder_is_used(
    kind: str, tiny_bert: Path, examples: list[Example], tmp_path: Path
) -> None:
    folder = of_kind(kind, tiny_bert, tmp_path / kind)
    encoder = built(folder, special_tokens=("[E1]", "[/E1]")).eval()
    inputs = collate(encoder, examples)
    tokens = encoder(inputs)["tokens"]
    whole = AutoModel.from_pretrained(folder).get_encoder().eval()
    theirs = whole(inputs["input_ids"], inputs["attention_mask"]).last_hidden_state
    torch.testing.assert_close(tokens, theirs, atol=1e-5, rtol=0)
    tokens.sum().backward()
    assert [name for name, p in encoder.named_parameters() if p.grad is None] == []
    encoder.save(tmp_path / "saved")
    again = TransformerEncoder("a/name-that-is-not-asked-for")
    again.build(saved=tmp_path / "saved")
    again.load_state_dict(encoder.state_dict())
    assert torch.equal(again.eval()(inputs)["tokens"], tokens)


def test_a_causal_model_pools_its_last_state_and_takes_no_prefix(
    tiny_bert: Path, examples: list[Example], tmp_path: Path
) -> None:
    folder = of_kind("GPT-2", tiny_bert, tmp_path)
    with raises("encoder.causal") as error:
        built(folder)
    assert '"last"' in error.value.hint
    encoder = built(folder, pooling="last").eval()
    assert encoder.causal
    inputs = collate(encoder, examples)
    found = encoder(inputs)
    ends = inputs["attention_mask"].sum(1) - 1
    assert torch.equal(found["pooled"], found["tokens"][torch.arange(len(ends)), ends])
    with raises("encoder.no-prefix"):
        encoder.prefix_shape()


def test_a_causal_model_is_for_decoders_that_read_one(
    tiny_bert: Path, examples: list[Example], tmp_path: Path
) -> None:
    folder = of_kind("GPT-2", tiny_bert, tmp_path)
    encoders, fuser = {"text": built(folder, pooling="last")}, TextOnly()
    with raises("encoder.causal") as error:
        check_causal(Parts(encoders, fuser, SoftmaxTagger()))
    assert error.value.where == "model.encoders.text"

    class Generating(SoftmaxTagger):
        reads_causal = True

    check_causal(Parts(encoders, fuser, Generating()))
    check_causal(
        Parts(encoders, PooledQuery(["text"]), SoftmaxTagger())
    )  # of the text as a whole, all is seen
    check_causal(Parts({"text": built(tiny_bert)}, fuser, SoftmaxTagger()))


def test_weights_of_another_model_are_refused(tiny_bert: Path, tmp_path: Path) -> None:
    for file in tiny_bert.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(tiny_bert / "model.safetensors")
    left = {k: v for k, v in weights.items() if "layer.1" not in k}
    save_file(left, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with raises("encoder.missing-weights", match="16 tensors of BertModel"):
        TransformerEncoder(str(tmp_path)).build()


def test_max_length_beyond_the_model_is_refused(tiny_bert: Path) -> None:
    with raises("encoder.max-length", match="takes at most 512"):
        TransformerEncoder(str(tiny_bert), max_length=513).build()
    with raises("encoder.max-length"):
        TransformerEncoder(str(tiny_bert), max_length=2).build()
