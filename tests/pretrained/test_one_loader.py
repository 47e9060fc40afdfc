"""Networks, tokenizers and checkpoints are loaded in one place, so that none of them runs code of its own."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / "mmkit" / "pretrained"
SOURCES = sorted([*ROOT.glob("mmkit/**/*.py"), *ROOT.glob("plugins/*/mmkit_*/**/*.py")])

LOADERS = frozenset(
    {
        *(
            "from_pretrained",
            "from_config",
            "pipeline",
            "snapshot_download",
            "hf_hub_download",
            "cached_file",
        ),
        *("load_state_dict_from_url", "load_state_dict_from_path", "load_model_config_from_hf"),
    }
)
"""What fetches a model or reads one of its files, by the last part of its name."""

UNPICKLERS = frozenset(
    {"torch.load", "pickle.load", "pickle.loads", "joblib.load", "torch.jit.load", "torch.hub.load"}
)
"""What may run code that a file holds."""

CLUSTER = ROOT / "plugins" / "ray" / "mmkit_ray" / "wire.py"
"""What is unpickled here comes from processes of one Ray cluster, which run each other's code as it is."""

GUARDED = frozenset({"from_pretrained", "from_config"})
"""What has to be told that no code of the model's own runs."""


def calls(tree: ast.AST) -> Iterator[tuple[ast.Call, str]]:
    """The calls of a module, with the dotted name of what is called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield node, ast.unparse(node.func)


def outside(file: Path, text: str) -> list[str]:
    """Calls of a module that stand where they must not, or without the argument."""
    found = []
    for call, name in calls(ast.parse(text)):
        last = name.rpartition(".")[2]
        place = f"{file.name}:{call.lineno}: {name}"
        home = HOME in file.parents
        if name in UNPICKLERS and file != CLUSTER and not (home and _weights_only(call)):
            found.append(f"{place} may run code")
        elif last == "create_model" and "pretrained" in {k.arg for k in call.keywords} and not home:
            if not _is(call, "pretrained", False):
                found.append(f"{place} loads weights")
        elif last in LOADERS and not home:
            found.append(f"{place} loads a model")
        elif last in GUARDED and not _is(call, "trust_remote_code", False):
            found.append(f"{place} does not say trust_remote_code=False")
    return found


def _weights_only(call: ast.Call) -> bool:
    return _is(call, "weights_only", True)


def _is(call: ast.Call, argument: str, value: object) -> bool:
    given = {k.arg: k.value for k in call.keywords}.get(argument)
    return isinstance(given, ast.Constant) and given.value is value


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_models_are_loaded_in_one_place_and_without_their_code(file: Path) -> None:
    assert outside(file, file.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("mmkit/x.py", "AutoModel.from_pretrained('x', trust_remote_code=False)", "loads a model"),
        ("mmkit/pretrained/x.py", "AutoModel.from_pretrained('x')", "does not say trust_remote_code=False"),
        (
            "mmkit/pretrained/x.py",
            "A.from_config(c, trust_remote_code=trust)",
            "does not say trust_remote_code=False",
        ),
        ("mmkit/x.py", "transformers.pipeline('ner')", "loads a model"),
        ("mmkit/x.py", "torch.load(path, weights_only=True)", "may run code"),
        ("mmkit/pretrained/x.py", "torch.load(path)", "may run code"),
        ("mmkit/x.py", "timm.create_model('resnet50', pretrained=True)", "loads weights"),
    ],
)
def test_a_loader_elsewhere_is_found(file: str, text: str, said: str) -> None:
    (found,) = outside(ROOT / file, text)
    assert found.endswith(said)
