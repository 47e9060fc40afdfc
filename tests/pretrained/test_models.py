"""Folders and names of pretrained models that cannot be loaded: one message, with the file and what to do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import HfApi
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError
from huggingface_hub.hf_api import ModelInfo
from safetensors.torch import load_file, save_file
from transformers import AutoModel, BertConfig, BertModel

from mmkit.data.types import Example
from mmkit.encoders.base import Encoder
from mmkit.encoders.blip_multimodal import BlipMultimodalEncoder
from mmkit.encoders.clip_image import ClipImageEncoder
from mmkit.encoders.timm_pooled import TimmEncoder
from mmkit.encoders.timm_pyramid import TimmPyramidEncoder
from mmkit.encoders.transformer import TransformerEncoder
from mmkit.errors import PartError
from mmkit.pretrained import hub
from mmkit.pretrained.networks import no_bars
from mmkit.pretrained.source import Pretrained
from own_code import with_own_code
from raising import raises

Copy = Callable[..., Path]
WORDS = ["look", "at", "mara", "okafor", "in", "lisbon", "the", "river", "is", "long"]
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 440449768\n"
HTML = b"<!DOCTYPE html><html><head><title>Sign in</title></head></html>"


def message(encoder: Encoder, code: str = "encoder.unloadable") -> str:
    """What `build` says of an encoder; `problems` says the same without building."""
    with pytest.raises(PartError) as caught:
        encoder.build()
    assert caught.value.code == code, caught.value
    assert str(caught.value) in [str(error) for error in encoder.problems()]
    assert "\n" not in caught.value.what and caught.value.hint
    return str(caught.value)


# Damaged and foreign weights


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (LFS, "model.safetensors is a Git LFS pointer, not the file itself"),
        (HTML, "model.safetensors is a web page (HTML), not the file itself"),
        (b"", "model.safetensors is empty (0 bytes)"),
        (b'{"error": "Unauthorized"}', "model.safetensors is JSON, not weights"),
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


# Formats


def test_a_folder_in_the_other_librarys_format_says_so(resnet_hf: Path, resnet_timm: Path) -> None:
    said = message(TimmPyramidEncoder(str(resnet_hf)))
    assert "the folder is in transformers' format (resnet)" in said and "resnet50.a1_in1k" in said
    said = message(TransformerEncoder(str(resnet_timm)))
    assert "the folder is in timm's format (resnet18)" in said and "mmkit.timm.v1" in said


def test_a_bare_file_of_weights_says_what_it_lacks(resnet_timm: Path, tmp_path: Path) -> None:
    state = load_file(resnet_timm / "model.safetensors")
    torch.save(state, tmp_path / "resnet18.pth")
    said = message(TimmEncoder(str(tmp_path / "resnet18.pth")))
    assert "is one file of weights, not a folder with a model" in said
    assert '{"architecture": "resnet50", "num_classes": 1000, "pretrained_cfg": {}}' in said
    assert "is one file of weights" in message(TransformerEncoder(str(tmp_path / "resnet18.pth")))
    (tmp_path / "empty.pth").write_bytes(b"")
    assert "empty.pth is empty" in message(TimmEncoder(str(tmp_path / "empty.pth")))


def test_what_is_said_of_a_bare_file_works(resnet_timm: Path, tmp_path: Path) -> None:
    state = load_file(resnet_timm / "model.safetensors")
    config = json.loads((resnet_timm / "config.json").read_text())
    short = {
        "architecture": "resnet18",
        "num_classes": 0,
        "model_args": config["model_args"],
        "pretrained_cfg": {},
    }
    (tmp_path / "config.json").write_text(json.dumps(short))
    torch.save(state, tmp_path / "model.pth")
    encoder = TimmEncoder(str(tmp_path))
    encoder.build()
    own = encoder.backbone.state_dict()
    assert all(torch.equal(own[name], tensor) for name, tensor in state.items())


@pytest.mark.parametrize(
    ("names", "said", "hint"),
    [
        ((), "the folder is empty", "must contain config.json"),
        (
            ("model.safetensors",),
            "the folder has no config.json",
            "must contain config.json, model.safetensors and",
        ),
        (("config.json",), "the folder has no weights", "download model.safetensors"),
        (
            ("config.json", "tf_model.h5"),
            "no weights; there is tf_model.h5 (TensorFlow's weights)",
            "download",
        ),
        (("adapter_config.json",), "holds an adapter (PEFT), not a whole model", "merge it"),
        (("snapshots/abc/config.json",), "the folder has no config.json", "snapshots/abc: name that folder"),
        (("params.json",), "the folder has no config.json", "the authors' own format"),
    ],
)
def test_what_a_folder_lacks_is_said(names: tuple[str, ...], said: str, hint: str, tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text('{"model_type": "bert"}')
    found = str(next(TransformerEncoder(str(tmp_path)).problems()))
    assert said in found and hint in found


def test_everything_that_a_folder_lacks_is_said_at_once(bert: Path, copied: Copy) -> None:
    folder = copied(bert, without=("tokenizer.json",), model__safetensors=LFS)
    codes = [error.code for error in TransformerEncoder(str(folder), revision="abc").problems()]
    assert codes == ["encoder.revision", "encoder.unloadable", "encoder.no-tokenizer"]
    with pytest.raises(PartError) as caught:
        TransformerEncoder(str(folder)).build()
    assert [error.code for error in caught.value.each] == codes[1:]
    moved = caught.value.at("recipe.cfg: [model.encoders.text]")
    assert str(moved).count("recipe.cfg: [model.encoders.text]: cannot load the text encoder") == 2


def test_an_unknown_kind_of_model_and_architecture_have_near_misses(
    bert: Path, resnet_timm: Path, copied: Copy
) -> None:
    folder = copied(bert, config__json=b'{"model_type": "modernbret"}')
    assert "did you mean 'modernbert'" in message(TransformerEncoder(str(folder)))
    folder = copied(resnet_timm, config__json=b'{"architecture": "resnet81"}')
    assert "did you mean 'resnet18'" in message(TimmEncoder(str(folder)))


# Weights that do not fit


def test_weights_of_another_shape_are_named(bert: Path, copied: Copy) -> None:
    folder = copied(bert)
    config = json.loads((bert / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 24}))
    with raises(
        "encoder.missing-weights",
        match=r"intermediate\.dense\.bias is \(16,\) there, but .* asks for \(24,\)",
    ):
        TransformerEncoder(str(folder)).build()


def test_layers_that_are_left_out_are_told_of(
    bert: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    config = BertConfig.from_pretrained(bert)
    config.num_hidden_layers = 2
    with no_bars():
        BertModel(config).save_pretrained(tmp_path)
    for file in ("tokenizer.json", "tokenizer_config.json", "config.json"):
        shutil.copy(bert / file, tmp_path)
    TransformerEncoder(str(tmp_path)).build()
    assert (
        "have 16 more tensors of the same kind than its config.json asks for (encoder.layer.1." in caplog.text
    )
    assert "UNEXPECTED" not in capfd.readouterr().err
    caplog.clear()
    TransformerEncoder(str(bert)).build()
    assert caplog.text == ""


def test_a_head_for_another_task_is_left_out_in_silence(
    bert: Path, copied: Copy, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = copied(bert)
    state = load_file(bert / "model.safetensors")
    save_file(
        {**state, "cls.predictions.bias": torch.ones(3)},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    TransformerEncoder(str(folder)).build()
    assert caplog.text == "" and capfd.readouterr() == ("", "")


def timm_folder(folder: Path, state: dict[str, torch.Tensor]) -> TimmEncoder:
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    return TimmEncoder(str(folder))


@pytest.mark.parametrize("classes", [0, 3])
def test_no_timm_encoder_is_new_in_silence(classes: int, resnet_timm: Path, copied: Copy) -> None:
    """With a classifier in the weights, timm loads what there is and leaves the rest as it was drawn."""
    folder = copied(resnet_timm)
    config = json.loads((folder / "config.json").read_text())
    config["pretrained_cfg"]["num_classes"] = classes
    (folder / "config.json").write_text(json.dumps(config))
    state = load_file(resnet_timm / "model.safetensors")
    fewer = {name: tensor for name, tensor in state.items() if not name.startswith("layer4.0.conv")}
    for kind in (TimmEncoder, TimmPyramidEncoder):
        timm_folder(folder, fewer)
        with raises("encoder.missing-weights", match=r"layer4\.0\.conv1"):
            kind(str(folder)).build()


def test_timms_words_name_the_file_or_are_dropped(
    resnet_timm: Path, copied: Copy, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = copied(resnet_timm)
    config = json.loads((folder / "config.json").read_text())
    config["pretrained_cfg"]["num_classes"] = 3
    (folder / "config.json").write_text(json.dumps(config))
    state = load_file(resnet_timm / "model.safetensors")
    head = {"fc.weight": torch.ones(3, 64), "fc.bias": torch.ones(3)}
    timm_folder(folder, state | head)
    TimmEncoder(str(folder)).build()
    TimmPyramidEncoder(str(folder)).build()
    assert caplog.text == "" and capfd.readouterr() == ("", "")
    timm_folder(folder, state | head | {"layer9.conv.weight": torch.ones(2)})
    TimmPyramidEncoder(str(folder)).build()
    assert (
        f"the weights of {str(folder)!r} hold 1 tensors that the network has no place for (layer9"
        in caplog.text
    )
    assert "Unexpected keys" not in capfd.readouterr().err + caplog.text


def test_weights_of_another_architecture_are_refused(resnet_timm: Path, copied: Copy) -> None:
    folder = copied(resnet_timm)
    config = json.loads((folder / "config.json").read_text())
    config["model_args"]["channels"] = [16, 32, 48, 80]
    (folder / "config.json").write_text(json.dumps(config))
    with raises("encoder.missing-weights", match="its weights are another network's: .*layer4"):
        TimmEncoder(str(folder)).build()


# Names


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "no/such/folder",
            "there is no such folder\n  → check the name: the working directory has no folder 'no'",
        ),
        (
            "https://huggingface.co/bert-base-uncased",
            "a web address, not a name\n  → check the name: give it without",
        ),
        ("~/models/bert", "`~` is not replaced in a recipe"),
        ("models\\bert", "write the path with /"),
        ("", "the name is empty"),
        ("C:/models/bert", "there is no such folder"),
        ("weights/model.safetensors", "there is no such file"),
    ],
)
@pytest.mark.parametrize("kind", [TransformerEncoder, TimmEncoder])
def test_a_name_that_can_be_nothing_says_why(name: str, said: str, kind: Any) -> None:
    assert said in message(kind(name))


def test_a_misspelt_folder_has_near_misses(bert: Path) -> None:
    assert "did you mean 'bert'" in message(TransformerEncoder(str(bert.parent / "bertt")))


def test_offline_a_models_absence_is_said_plainly() -> None:
    for encoder in (TransformerEncoder("someone/something"), TimmEncoder("resnet18.a1_in1k")):
        (error,) = encoder.problems()
        assert "it is not on this machine, and the Hub may not be contacted (HF_HUB_OFFLINE" in str(error)
        assert encoder.weight_bytes() is None


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (RepositoryNotFoundError, "the Hub has no such model, or the model is private"),
        (GatedRepoError, "it is a gated model"),
        (ConnectionError, "the Hub does not answer (ConnectionError)"),
    ],
)
def test_the_hub_is_asked_for_a_list_of_files_alone(
    raised: type[Exception], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise raised.__new__(raised)  # the Hub client makes them of an answer

    monkeypatch.setattr(hub, "offline", lambda: False)
    monkeypatch.setattr(HfApi, "model_info", refuse)
    (error,) = TransformerEncoder("someone/something").problems()
    assert said in str(error)


def test_what_a_model_of_the_hub_lacks_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    there: list[str] = []

    def info(self: HfApi, name: str, **options: Any) -> ModelInfo:
        assert options["timeout"]
        return ModelInfo(id=name, siblings=[{"rfilename": file} for file in there], tags=[])

    monkeypatch.setattr(hub, "offline", lambda: False)
    monkeypatch.setattr(HfApi, "model_info", info)
    there[:] = ["config.json", "model.safetensors", "tokenizer.json"]
    assert list(TransformerEncoder("a/b").problems()) == []
    there[:] = ["config.json", "tf_model.h5", "vocab.txt"]
    assert "on the Hub it has no weights that can be read here" in str(
        next(TransformerEncoder("a/b").problems())
    )
    there[:] = ["config.json", "model.safetensors"]
    assert "on the Hub it has no tokenizer" in str(next(TransformerEncoder("a/b").problems()))


# Code of a model's own


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is there to be asked anything."""

    def ask(prompt: str = "") -> str:
        raise AssertionError(f"asked on the terminal: {prompt}")

    monkeypatch.setattr("builtins.input", ask)


@pytest.mark.usefixtures("silent")
@pytest.mark.parametrize("kind", [TransformerEncoder, ClipImageEncoder])
def test_a_model_that_needs_its_own_code_is_refused(kind: Any, tmp_path: Path) -> None:
    folder = with_own_code(tmp_path / "own", tmp_path / "ran")
    assert "it needs its own code" in message(kind(str(folder)), "encoder.needs-code")
    assert not (tmp_path / "ran").exists()


@pytest.mark.usefixtures("silent")
def test_nothing_of_a_model_runs_its_own_code(bert: Path, tmp_path: Path) -> None:
    """Whatever is asked for, also of a model that transformers knows, beside whose files a module lies."""
    from transformers import AutoProcessor

    marker = tmp_path / "ran"
    folder = with_own_code(tmp_path / "own", marker)
    known = with_own_code(shutil.copytree(bert, tmp_path / "bert"), marker)
    config = json.loads((bert / "config.json").read_text())
    (known / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "own.C"}}))
    for source in (folder, known):
        model = Pretrained(str(source), "the model")
        for load in (model.tokenizer, model.image_processor, lambda: model.processor(AutoProcessor)):  # noqa: B023
            with pytest.raises(PartError):
                load()
    shutil.copy(bert / "model.safetensors", known)
    assert type(Pretrained(str(known), "the model").network(AutoModel)).__name__ == "BertModel"
    assert not marker.exists()


def test_compiled_code_from_the_hub_is_refused(bert: Path, copied: Copy) -> None:
    config = json.loads((bert / "config.json").read_text()) | {"attn_implementation": "someone/kernel"}
    folder = copied(bert, config__json=json.dumps(config).encode())
    with raises("encoder.needs-code", match=r"asks for compiled code from the Hub \(someone/kernel\)"):
        TransformerEncoder(str(folder)).build()


@pytest.mark.usefixtures("silent")
def test_a_runs_folder_runs_no_code_either(bert: Path, tmp_path: Path) -> None:
    """What a run keeps of an encoder is a stranger's as much as any model."""
    marker = tmp_path / "ran"
    with raises("encoder.needs-code"):
        TransformerEncoder("x").build(saved=with_own_code(tmp_path / "saved", marker))
    known = with_own_code(shutil.copytree(bert, tmp_path / "known"), marker)
    shutil.copy(bert / "config.json", known)
    shutil.copy(bert / "tokenizer.json", known)
    TransformerEncoder("x").build(
        saved=known
    )  # of a kind that transformers has, and with what that kind needs
    assert not marker.exists()


# What the Hub's client has kept on this machine


@pytest.fixture
def kept(
    bert: Path, bert_bin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Path]:
    """Puts a folder into the Hub client's cache under a name, as a download leaves it; returns where its files lie."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("transformers.utils.hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))

    def put(name: str) -> Path:
        commit = "0123456789abcdef0123456789abcdef01234567"
        at = tmp_path / "hub" / f"models--{name.replace('/', '--')}"
        (at / "refs").mkdir(parents=True)
        (at / "refs" / "main").write_text(commit)
        return shutil.copytree(bert_bin if name.endswith("bin") else bert, at / "snapshots" / commit)

    return put


@pytest.mark.parametrize("name", ["someone/bert", "someone/bert-bin"])
def test_a_model_that_was_fetched_is_used_offline_and_looked_at(
    name: str, kept: Callable[[str], Path]
) -> None:
    folder = kept(name)
    encoder = TransformerEncoder(name)
    assert list(encoder.problems()) == [] and (encoder.weight_bytes() or 0) > 1000
    encoder.build()
    (weights,) = [*folder.glob("model.safetensors"), *folder.glob("pytorch_model.bin")]
    weights.write_bytes(weights.read_bytes()[:-60])
    said = message(TransformerEncoder(name))
    assert f"cannot load the text encoder {name!r}: {weights} is cut off" in said


def test_a_fetched_model_of_which_files_are_missing_says_so_offline(kept: Callable[[str], Path]) -> None:
    folder = kept("someone/bert")
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises(PartError) as caught:
        TransformerEncoder("someone/bert").build()
    assert caught.value.code in ("encoder.unloadable", "encoder.wrong-tokenizer", "encoder.no-tokenizer")


def test_a_name_that_the_hub_cannot_have_says_so() -> None:
    (error,) = TransformerEncoder("bert base uncased").problems()
    assert "no model of the Hub can be called so" in str(error)
