"""What the code of before the core's contracts were designed anew wrote, and a package written for it, still work.

`tests/before/` holds it; `tests/before/make.py` says how it was made. It is never made again. Of newer code this file
may adapt what asks it (`_answer`, the calls of `mmkit`), never what is expected.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from transformers import BertModel, BlipForImageTextRetrieval, CLIPTextModelWithProjection
from transformers.models.blip.modeling_blip_text import BlipTextModel

import mmkit
from earlier_records import ENTITIES, EXAMPLES, LOOSE, LOOSELY_READ, PREDICTIONS
from mmkit.cli import main
from mmkit.data.jsonl import JsonlReader, read_jsonl
from mmkit.inference.score import score_files
from mmkit.recipe import load_recipe
from mmkit.registry import build_part

ROOT = Path(__file__).resolve().parent.parent
BEFORE = ROOT / "tests" / "before"
RUNS = sorted(path.name.removesuffix(".tar.xz") for path in (BEFORE / "runs").iterdir())

RANKS = "mmkit.entity_matcher"
"""Note that predictions of old linkers carried: ranks of the gold entity. Predictions need it no more."""

CLOSE = {"rel": 0, "abs": 1e-5}


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Everything unpacked; runs name their data relative to this folder, so it is the working directory."""
    root = tmp_path_factory.mktemp("before")
    for archive in [BEFORE / "rest.tar.xz", BEFORE / "cache.tar.xz", *(BEFORE / "runs").iterdir()]:
        with tarfile.open(archive) as opened:
            opened.extractall(root, filter="data")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("MMKIT_CACHE", str(root / "cache"))
        yield root


def expected(name: str) -> Any:
    return json.loads((BEFORE / "expected" / f"{name}.json").read_text(encoding="utf-8"))


def command(*arguments: str) -> str:
    done = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def assert_close(found: Any, wanted: Any, at: str = "") -> None:
    """Equal but for numbers, which may differ by 1e-5."""
    if isinstance(wanted, Mapping):
        # Answers may say more than they did; what they said stays, and images are the same files.
        assert isinstance(found, Mapping) and found.keys() >= wanted.keys(), at
        for key, value in wanted.items():
            if key == "images":
                assert [Path(path).name for path in found[key]] == [Path(path).name for path in value], at
            else:
                assert_close(found[key], value, f"{at}.{key}")
    elif isinstance(wanted, list):
        assert isinstance(found, Sequence) and len(found) == len(wanted), at
        for i, value in enumerate(wanted):
            assert_close(found[i], value, f"{at}[{i}]")
    elif isinstance(wanted, float):
        assert found == pytest.approx(wanted, **CLOSE), at
    else:
        assert found == wanted, at


def _span(span: Any) -> dict[str, Any]:
    return {"start": span.start, "end": span.end, "label": span.label}


def _answer(prediction: Any) -> dict[str, Any]:
    """What a prediction says, as the files of format 1 said it, empty fields left out."""
    told = {
        "id": prediction.id,
        "spans": [_span(span) for span in prediction.spans],
        "span_scores": list(prediction.span_scores),
        "relations": [
            {"head": _span(r.head), "tail": _span(r.tail), **({} if r.label is None else {"label": r.label})}
            for r in prediction.relations
        ],
        "relation_scores": list(prediction.relation_scores),
        "links": list(prediction.links),
        "link_scores": list(prediction.link_scores),
        "notes": dict(prediction.notes),
    }
    return without_ranks({key: value for key, value in told.items() if value})


def without_ranks(record: Mapping[str, Any]) -> dict[str, Any]:
    """A prediction's JSON without the old note of ranks."""
    notes = {key: note for key, note in record.get("notes", {}).items() if key != RANKS}
    return {key: value for key, value in record.items() if key != "notes"} | (
        {"notes": notes} if notes else {}
    )


def test_a_run_of_each_paper_and_kind_is_kept() -> None:
    assert RUNS == [
        "dim_wikimel",
        "dwe_wikimel",
        "hvpnet_mnre",
        "hvpnet_twitter15",
        "more_twitter15_moe",
        "more_twitter15_text",
        "tesga_mnre_joint",
        "text_only_twitter15",
        "trained_entities_wikimel",
    ]


@pytest.mark.parametrize("name", RUNS)
def test_a_kept_run_predicts_the_same(name: str) -> None:
    """`mmkit.load(run).predict_batch`: labels, spans and links are equal, scores close."""
    wanted = expected(name)
    inputs = Path(wanted["inputs"])
    examples = list(JsonlReader(root=str(inputs.parent), file=inputs.name))
    found = mmkit.load(f"runs/{name}", device="cpu").predict_batch(examples)
    assert len(found) == len(examples) >= 5
    assert_close([_answer(p) for p in found], [without_ranks(p) for p in wanted["predictions"]], name)


@pytest.mark.parametrize("name", RUNS)
def test_mmkit_predict_writes_the_same(name: str, tmp_path: Path) -> None:
    wanted, output = expected(name), tmp_path / "predicted.jsonl"
    arguments = ["--input", wanted["inputs"], "--output", str(output), "--device", "cpu"]
    command("predict", f"runs/{name}", *arguments)
    found = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    assert_close(found, wanted["described"], name)


@pytest.mark.parametrize("name", [name for name in RUNS if expected(name)["asked"]])
def test_a_kept_run_answers_a_question_on_the_command_line(name: str) -> None:
    """A text, with a pair or a mention, and a picture."""
    wanted = expected(name)
    answer = command("predict", f"runs/{name}", *wanted["asked"], "--json", "--device", "cpu")
    assert_close(json.loads(answer), wanted["answer"], name)


def refuse(*_: object, **__: object) -> None:
    raise AssertionError("a network ran although its features are stored")


CONVOLVE = torch.nn.Conv2d.forward


def refuse_pictures(module: torch.nn.Conv2d, pixels: torch.Tensor) -> torch.Tensor:
    """A convolution of all but pictures. Blank ones, by which widths are measured, are all zeros."""
    if pixels.shape[1] == 3 and pixels.any():
        refuse()
    return CONVOLVE(module, pixels)


STORED: dict[str, list[type]] = {
    "hvpnet_twitter15": [torch.nn.Conv2d],
    "hvpnet_mnre": [torch.nn.Conv2d],
    "tesga_mnre_joint": [torch.nn.Conv2d, BlipForImageTextRetrieval, BlipTextModel],
    "dwe_wikimel": [torch.nn.Conv2d, CLIPTextModelWithProjection],
    "dim_wikimel": [torch.nn.Conv2d, CLIPTextModelWithProjection],
    "more_twitter15_moe": [BertModel],
}
"""The networks whose features of the test split, and of entities, are stored."""


def stored_files() -> set[str]:
    kinds = (Path("cache") / kind for kind in ("features", "entities", "annotations"))
    files = {str(path) for kind in kinds for path in kind.rglob("*") if path.is_file()}
    return {path for path in files if not path.endswith(".lock")}


@pytest.mark.parametrize("name", RUNS)
def test_evaluating_gives_the_same_and_computes_nothing_that_is_stored(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old fingerprints are found again: networks with stored features raise, and no file is added to the stores."""
    wanted, before = expected(name), stored_files()
    for network in STORED.get(name, []):
        monkeypatch.setattr(network, "forward", refuse_pictures if network is torch.nn.Conv2d else refuse)
    output = command(
        "evaluate", f"runs/{name}", "--output", str(tmp_path), "--json", "--device", "cpu", "--quiet"
    )
    assert_close(json.loads(output), wanted["figures"], name)
    assert stored_files() == before


def test_features_of_examples_and_entities_are_stored() -> None:
    kinds = {Path(path).parts[1] for path in stored_files()}
    assert kinds == {"features", "entities", "annotations"}


@pytest.mark.parametrize("name", RUNS)
def test_old_prediction_files_read_and_score_the_same(name: str) -> None:
    """`predictions/test.jsonl` of `mmkit evaluate`, those of linkers with ranks in a note."""
    wanted, path = expected(name), Path(f"runs/{name}/predictions/test.jsonl")
    lines = path.read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[0]) == {"format": 1, "kind": "predictions"}
    written = [without_ranks(json.loads(line)) for line in lines[1:]]
    assert [_answer(p) for p in read_jsonl(path)] == written
    recipe = load_recipe(f"runs/{name}/recipe.cfg")
    (metric,) = recipe.parts("metrics")
    figures, examples = score_files(Path(wanted["inputs"]), path, recipe.build(f"metrics.{metric}"))
    assert examples == len(written)
    told = {
        key.removeprefix(f"{metric}."): value for key, value in wanted["figures"].items() if key != "split"
    }
    assert_close(figures, told, name)


def test_an_old_run_is_built_upon() -> None:
    """A new mixture may take an old run for an expert: `run.json` says that it is complete."""
    encoder = build_part("encoders", "mmkit.run.v1", {"run": "runs/more_twitter15_text"})
    encoder.build()
    assert encoder.labels == json.loads(Path("runs/more_twitter15_text/labels.json").read_text())
    assert encoder.labels["types"] == ["LOC", "MISC", "ORG", "PER"]
    assert encoder.dim == 32


@pytest.mark.parametrize("i", range(len(expected("search"))))
def test_an_old_index_finds_the_same(i: int) -> None:
    wanted = expected("search")[i]
    lines = command("more", "search", "indexes/more", *wanted["options"], "--top", "3", "--json").splitlines()
    assert_close([json.loads(line) for line in lines], wanted["hits"], str(wanted["options"]))
    assert wanted["hits"]


def test_an_old_index_is_gone_on_with() -> None:
    """Its files are undamaged, and what it holds is not put into it again."""
    from mmkit_more.build import build_index
    from mmkit_more.text_index import TextIndex

    index, corpus = Path("indexes/words"), Path("data/corpus/corpus.jsonl")
    assert TextIndex.open(index / "text").search(["Jordan"], 1)[0]
    done = build_index(corpus, index, pictures=False)
    assert (done.added, done.changed, done.removed) == (0, 0, 0)
    assert done.unchanged == done.articles == len(corpus.read_text(encoding="utf-8").splitlines())


@pytest.mark.parametrize(
    ("kind", "records"), [("examples", EXAMPLES), ("entities", ENTITIES), ("predictions", PREDICTIONS)]
)
def test_jsonlines_of_format_1_read_the_same(kind: Any, records: tuple[Any, ...]) -> None:
    path = BEFORE / "jsonlines" / f"{kind}.jsonl"
    assert path.read_text(encoding="utf-8").startswith(f'{{"format": 1, "kind": "{kind}"}}\n')
    assert tuple(read_jsonl(path, kind)) == records


def test_loose_jsonlines_of_format_1_read_the_same(tmp_path: Path) -> None:
    (tmp_path / "loose.jsonl").write_text("\n".join(LOOSE), encoding="utf-8")
    assert tuple(read_jsonl(tmp_path / "loose.jsonl")) == LOOSELY_READ


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The third party's package, installed by pip into a folder of its own."""
    target = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-index"]
    package = str(BEFORE / "third_party")
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", "--target", target, package], check=True)
    return target


@pytest.mark.parametrize("recipe", ["earlier_tagger", "earlier_kind"])
def test_a_package_for_the_old_contracts_trains_or_is_refused_in_one_message(
    recipe: str, site: Path, tmp_path: Path
) -> None:
    """Reader, annotator, encoder of items, fuser, tagger, decoder, metric and hooks of a third party."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [site, ROOT]))}
    environment |= {"MMKIT_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    arguments = ["train", recipe, "--sample", "--quiet", "--device", "cpu", "--output", "run"]
    done = subprocess.run(
        [sys.executable, "-m", "mmkit", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        cwd=tmp_path,
    )
    if done.returncode:
        assert done.returncode == 2, done.stderr
        assert "Traceback" not in done.stderr
        errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1, done.stderr
        assert "mmkit-earlier" in done.stderr
        assert "earlier." in done.stderr
        return
    with (tmp_path / "run" / "scores.csv").open(encoding="utf-8", newline="") as file:
        scores = {name: float(value) for split, _, name, value in csv.reader(file) if split == "test"}
    assert scores["kinds.accuracy"] > 0.9
    if recipe == "earlier_tagger":
        assert scores["spans.f1"] > 0.9
