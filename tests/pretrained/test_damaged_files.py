"""Files of pretrained models that are damaged or of another kind: one message with the file and what to do."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertModel

from mmkit.data.types import Example
from mmkit.encoders.blip_multimodal import BlipMultimodalEncoder
from mmkit.encoders.clip_image import ClipImageEncoder
from mmkit.encoders.timm_pooled import TimmEncoder
from mmkit.encoders.transformer import TransformerEncoder
from mmkit.errors import PartError
from mmkit.pretrained.networks import no_bars
from raising import raises
from refusals import HTML, LFS, message

Copy = Callable[..., Path]
WORDS = ["look", "at", "mara", "okafor", "in", "lisbon", "the", "river", "is", "long"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (LFS, "model.safetensors is a Git LFS pointer, not the file itself"),
        (HTML, "model.safetensors is a web page (HTML), not the file itself"),
        (b"", "model.safetensors is empty (0 bytes)"),
        (b'{"error": "Unauthorized"}', "model.safetensors is JSON, not weights"),
        (b' [\n {"error": 1}]', "model.safetensors is JSON, not weights"),
        (b"[recipe]\nformat = 1\n", "model.safetensors is plain text, not the file itself"),
        (None, "model.safetensors is cut off: it has "),
    ],
)
def test_damaged_weights_are_named(
    content: bytes | None, said: str, bert: Path, resnet_timm: Path, copied: Copy
) -> None:
    for folder, kind in ((bert, TransformerEncoder), (resnet_timm, TimmEncoder)):
        whole = (folder / "model.safetensors").read_bytes()
        made = copied(folder, model__safetensors=whole[:-50] if content is None else content)
        assert f"{str(made)!r}: {said}" in message(kind(str(made)))


@pytest.mark.parametrize(
    ("content", "said"), [(HTML, "is a web page"), (b"", "is empty"), (None, "is cut off")]
)
def test_damaged_pickles_are_named(content: bytes | None, said: str, bert_bin: Path, copied: Copy) -> None:
    whole = (bert_bin / "pytorch_model.bin").read_bytes()
    made = copied(bert_bin, pytorch_model__bin=whole[:2000] if content is None else content)
    assert f"pytorch_model.bin {said}" in message(TransformerEncoder(str(made)))


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize(
    ("content", "said"),
    [(LFS, "is a Git LFS pointer"), (HTML, "is a web page"), (b"", "is empty"), (b'{"a": ', "is not valid JSON"),
     (b"[1]", "holds a list"), (b"\xff\xfe{", "is not"), (b"[" * 100_000, "is")],
)  # fmt: skip
def test_damaged_settings_are_named(name: str, content: bytes, said: str, bert: Path, copied: Copy) -> None:
    made = copied(bert, **{name.replace(".", "__"): content})
    assert f"{name} {said}" in message(TransformerEncoder(str(made)))


@pytest.mark.parametrize("kind", [ClipImageEncoder, BlipMultimodalEncoder])
def test_a_damaged_image_processor_is_named(kind: Any, tmp_path: Path, copied: Copy) -> None:
    examples = [Example.from_tokens("1", WORDS), Example.from_tokens("2", WORDS[:4])]
    made = Path(kind.sample(tmp_path / "made" / "sample", 1, examples)["name"])
    broken = copied(made, preprocessor_config__json=HTML)
    with raises("encoder.unloadable", match=r"preprocessor_config\.json is a web page"):
        kind(str(broken)).build()
    (broken / "preprocessor_config.json").write_text('{"size": {"height": "wide"}}')
    with raises("encoder.unloadable", match="cannot load the (CLIP|BLIP) model"):
        kind(str(broken)).build()


def test_shards_are_looked_at_one_by_one(bert: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sharded"
    with no_bars():
        BertModel.from_pretrained(bert).save_pretrained(folder, max_shard_size="3KB")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(bert / file, folder)
    TransformerEncoder(str(folder)).build()
    shards = sorted(folder.glob("model-*.safetensors"))
    assert len(shards) > 1
    shards[0].unlink()
    shards[1].write_bytes(LFS)
    with pytest.raises(PartError) as caught:
        TransformerEncoder(str(folder)).build()
    assert f"{shards[0].name} is not there" in str(caught.value)
    assert f"{shards[1].name} is a Git LFS pointer" in str(caught.value)
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../../x"}}')
    assert "does not say which tensor is in which file" in message(TransformerEncoder(str(folder)))


def test_a_checkpoint_that_asks_to_run_code_is_refused(bert_bin: Path, copied: Copy) -> None:
    folder = copied(bert_bin)
    torch.save({"a": torch.ones(2), "b": Path("x")}, folder / "pytorch_model.bin")
    said = message(TransformerEncoder(str(folder)), "encoder.needs-code")
    assert "pytorch_model.bin would run code when it is read (pathlib." in said
