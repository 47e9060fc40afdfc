"""Prefix attention equals a plain reference, leaks no padding, and is refused where a model ignores it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import (
    AlbertConfig,
    AutoModel,
    BertConfig,
    BertModel,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    ModernBertConfig,
    MPNetConfig,
    PreTrainedConfig,
    RobertaConfig,
    XLMRobertaConfig,
)

from mmkit.data.types import Example, TextView
from mmkit.encoders import prefix as prefixes
from mmkit.encoders.transformer import TransformerEncoder
from raising import raises

SIZES = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "max_position_embeddings": 40,
}
USABLE = {
    "BERT": BertConfig(**SIZES),
    "RoBERTa": RobertaConfig(**SIZES),
    "XLM-R": XLMRobertaConfig(**SIZES),
    "ELECTRA": ElectraConfig(**SIZES, embedding_size=16),
    "ModernBERT": ModernBertConfig(
        **SIZES,
        pad_token_id=0,
        cls_token_id=1,
        sep_token_id=2,
        bos_token_id=1,
        eos_token_id=2,
        local_attention=6,
    ),
}
REFUSED = {
    "DistilBERT": DistilBertConfig(vocab_size=60, dim=32, n_layers=2, n_heads=4, hidden_dim=40),
    "ALBERT": AlbertConfig(**SIZES, embedding_size=16),
    "DeBERTa-v2": DebertaV2Config(**SIZES, relative_attention=True, pos_att_type=["p2c", "c2p"]),
    "MPNet": MPNetConfig(**SIZES),
}
IDS = torch.tensor([[5, 6, 7, 8, 9, 10], [11, 12, 13, 14, 15, 16]])
MASK = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0]])


def network(config: PreTrainedConfig, attention: str = prefixes.SDPA):
    torch.manual_seed(0)
    model = AutoModel.from_config(config, attn_implementation=attention)
    for parameter in model.parameters():  # far from the tiny initial values, so that differences show
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model.eval()


def random_prefix(model, length: int = 5, batch: int = 2, scale: float = 1.0) -> list[tuple[Tensor, Tensor]]:
    draw = torch.Generator().manual_seed(1)
    return [
        tuple(scale * torch.randn(batch, heads, length, width, generator=draw) for _ in range(2))
        for heads, width in prefixes.shape(model.config)
    ]


def run(model, prefix=None, rows=slice(None), length: int = 6) -> Tensor:
    extra = {} if prefix is None else {"prefix": [(k[rows], v[rows]) for k, v in prefix]}
    ids, mask = IDS[rows, :length], MASK[rows, :length]
    return model(input_ids=ids, attention_mask=mask, **extra).last_hidden_state


def reference(model: BertModel, prefix: list[tuple[Tensor, Tensor]]) -> Tensor:
    """BERT by hand: each layer's keys and values begin with its prefix, which is never masked."""
    x = model.embeddings(IDS)
    B, T = IDS.shape
    hidden = torch.cat([torch.zeros(B, prefix[0][0].shape[2]), (1.0 - MASK) * -1e9], dim=1)
    for layer, (before_key, before_value) in zip(model.encoder.layer, prefix, strict=True):
        own = layer.attention.self
        heads, width = before_key.shape[1], before_key.shape[3]
        query, key, value = (
            f(x).view(B, T, heads, width).transpose(1, 2) for f in (own.query, own.key, own.value)
        )
        key, value = torch.cat([before_key, key], 2), torch.cat([before_value, value], 2)
        scores = query @ key.transpose(2, 3) / math.sqrt(width) + hidden[:, None, None]
        mixed = (scores.softmax(-1) @ value).transpose(1, 2).reshape(B, T, -1)
        x = layer.attention.output(mixed, x)
        x = layer.output(layer.intermediate(x), x)
    return x


@pytest.mark.parametrize("attention", [prefixes.SDPA, prefixes.EAGER])
@torch.no_grad()
def test_equals_attention_written_out(attention: str) -> None:
    model = network(USABLE["BERT"], attention)
    prefix = random_prefix(model)
    ours, plain = run(model, prefix), reference(model, prefix)
    torch.testing.assert_close(ours[MASK.bool()], plain[MASK.bool()], atol=5e-6, rtol=0)
    assert (ours - run(model)).abs().max() > 0.01  # the prefix is not ignored by both


@pytest.mark.parametrize("attention", [prefixes.SDPA, prefixes.EAGER])
@pytest.mark.parametrize("name", USABLE)
@torch.no_grad()
def test_padding_does_not_leak(name: str, attention: str) -> None:
    model = network(USABLE[name], attention)
    prefix = random_prefix(model)
    alone = run(model, prefix, rows=slice(1, 2), length=4)
    torch.testing.assert_close(run(model, prefix)[1:, :4], alone, atol=5e-6, rtol=0)


@pytest.mark.parametrize("name", USABLE)
@torch.no_grad()
def test_sdpa_and_eager_agree(name: str) -> None:
    sdpa, eager = (network(USABLE[name], a) for a in (prefixes.SDPA, prefixes.EAGER))
    prefix = random_prefix(sdpa)
    real = MASK.bool()
    torch.testing.assert_close(run(sdpa, prefix)[real], run(eager, prefix)[real], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", USABLE)
def test_models_that_use_a_prefix_are_proved(name: str) -> None:
    model = network(USABLE[name]).train()
    before = torch.get_rng_state()
    assert prefixes.prove(model) == [(4, 8)] * 3
    assert model.training and torch.equal(before, torch.get_rng_state())
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("name", REFUSED)
def test_models_that_ignore_a_prefix_are_refused_by_name(name: str) -> None:
    attention = prefixes.SDPA if name in {"DistilBERT", "ALBERT"} else "eager"
    model = network(REFUSED[name], attention)
    with raises("encoder.no-prefix", match=f"{type(model).__name__} cannot use a prefix"):
        prefixes.prove(model)


def test_a_single_layer_without_prefix_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network(USABLE["BERT"])
    plain = prefixes.prepend

    def deaf(module, key, value, mask, prefix):
        return plain(module, key, value, mask, None if module.layer_idx == 1 else prefix)

    monkeypatch.setattr(prefixes, "prepend", deaf)
    with raises("encoder.no-prefix", match="layer 1 ignores it"):
        prefixes.prove(model)


@torch.no_grad()
def test_bf16_autocast_stays_close() -> None:
    model = network(USABLE["BERT"])
    prefix = random_prefix(model)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = run(model, prefix)
    difference = (half.float() - run(model, prefix))[MASK.bool()].abs()
    assert difference.mean() < 0.03


@torch.no_grad()
def test_compiles_without_a_graph_break() -> None:
    model = network(USABLE["BERT"])
    prefix = random_prefix(model)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(run(compiled, prefix), run(model, prefix))


def test_gradients_reach_the_prefix_under_checkpointing() -> None:
    plain, checkpointed = network(USABLE["BERT"]), network(USABLE["BERT"])
    for module in (plain, checkpointed):  # no dropout, so that both compute the same
        for m in module.modules():
            if isinstance(m, torch.nn.Dropout):
                m.p = 0.0
    checkpointed.gradient_checkpointing_enable()
    gradients = []
    for model in (plain.train(), checkpointed.train()):
        prefix = [(k.requires_grad_(), v.requires_grad_()) for k, v in random_prefix(model)]
        run(model, prefix).square().sum().backward()
        gradients.append(torch.stack([t.grad for pair in prefix for t in pair]))
    assert gradients[0].abs().min() > 0
    torch.testing.assert_close(gradients[0], gradients[1])


def test_the_encoder_takes_a_prefix(tiny_bert: Path, tiny_roberta: Path, examples: list[Example]) -> None:
    for folder in (tiny_bert, tiny_roberta):
        encoder = TransformerEncoder(str(folder), frozen=True)
        encoder.build()
        shape = encoder.prefix_shape()
        inputs = encoder.collate(examples, [{"text": TextView.of(x)} for x in examples])
        prefix = [(torch.ones(4, h, 2, d, requires_grad=True), torch.ones(4, h, 2, d)) for h, d in shape]
        out = encoder(inputs, prefix=prefix)["tokens"]
        assert out.shape == encoder(inputs)["tokens"].shape
        out.square().sum().backward()  # a frozen encoder still passes gradients on to the prefix
        assert all(key.grad is not None for key, _ in prefix)


@pytest.mark.parametrize("name", USABLE)
@torch.no_grad()
def test_layers_that_share_a_mask_widen_it_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = network(USABLE[name])
    prefix = random_prefix(model)
    expected = run(model, prefix)
    made: list[Tensor] = []
    widened = prefixes.widened

    def counted(mask: Tensor, more: int) -> Tensor:
        made.append(widened(mask, more))
        return made[-1]

    monkeypatch.setattr(prefixes, "widened", counted)
    shared = model(input_ids=IDS, attention_mask=MASK, prefix=prefixes.Widened(prefix)).last_hidden_state
    assert torch.equal(shared, expected)
    assert 1 <= len(made) <= 2 < len(prefix) or len(made) == 1  # a few models have masks of two kinds
