"""How the files of this folder were made: by the code of before the core's contracts were designed anew.

    git worktree add before 2b8956d6fec7eff9a861a72600ed32b33695ba57  # install mmkit and its plugins from it
    python tests/before/make.py OUT  # a folder for what is made on the way; some minutes on one core

They are kept so that what old code wrote goes on loading and predicting the same (`tests/test_before.py`). Do not make
them again with newer code: then they would prove nothing.

Each run was trained on its sample with networks of a width of 16 to 32 (`stand_ins.py`); its weights were then
rounded to 16 bits, its data cut to a few records (`cuts.py`), and its recipe's paths made relative to the folder that
all archives are unpacked to. What is expected was predicted after that, by the same code.

    runs/<name>.tar.xz    run folders, with `predictions/test.jsonl` as `mmkit evaluate` wrote them
    rest.tar.xz           data/, models/ (stand-ins of annotators' models) and indexes/ (of `mmkit more build-index`)
    cache.tar.xz          cache/: stored features of examples and entities, and annotators' results
    jsonlines/            all three kinds in format 1 (tests/support/earlier_records.py has the records)
    expected/<name>.json  what `mmkit predict`, `predict_batch` and `mmkit evaluate` gave
    expected/search.json  what `mmkit more search` found
    third_party/          a package as docs/plugins.md said that one is written
"""

# ruff: noqa: I001 - some modules of the old code are elsewhere now
from __future__ import annotations

import json
import os
import shutil
import sys
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
FEW = 6
"""Test examples of a run."""


@dataclass(frozen=True)
class Kept:
    """A run to keep: its recipe, what is smaller than in the sample, its data and whether it comes with the files."""

    recipe: str
    world: str
    smaller: dict[str, Any] = field(default_factory=dict)
    asked: str = ""
    """What of the first example is asked for by options of `mmkit predict`: a text, a pair or a mention."""
    packed: bool = True
    name: str = ""

    @property
    def called(self) -> str:
        return self.name or self.recipe


EXPERT = {"model.encoders.text.max_length": 128, "training.epochs": 20}
RUNS = (
    Kept("text_only_twitter15", "tweets"),
    Kept("hvpnet_twitter15", "tweets", {"model.fuser.hidden": 32, "training.epochs": 30}, "text"),
    Kept("hvpnet_mnre", "pairs", {"model.fuser.hidden": 16}, "pair"),
    Kept(
        "tesga_mnre_joint",
        "joint",
        {
            "model.fuser.hidden": 32,
            "model.fuser.heads": 2,
            "training.epochs": 30,
            "training.learning_rate": 4e-3,
        }
        | {f"model.encoders.{name}.max_length": 128 for name in ("visual", "similarity")},
        "text",
    ),
    Kept("dwe_wikimel", "mentions", {"model.fuser.hidden": 32}, "mention"),
    Kept("dim_wikimel", "mentions", {"data.entities.file": "property.json"}, "mention"),
    Kept(
        "text_only_wikimel",
        "mentions",
        {"model.fuser.hidden": 32, "model.encoders.entity.frozen": False},
        name="trained_entities_wikimel",
    ),
    Kept("more_twitter15_text", "posts", EXPERT, "text"),
    Kept("more_twitter15_image", "posts", EXPERT, packed=False),
    Kept("more_twitter15_moe", "posts", {"training.epochs": 12}, "text"),
)


def main(out: Path) -> None:
    """Make everything in `out`, then put it here. Runs that are in `out` already are not trained again."""
    out.mkdir(parents=True, exist_ok=True)
    sys.path.insert(0, str(HERE.parent / "support"))
    os.chdir(out)
    for name in ("runs", "data", "models", "indexes", "cache"):
        shutil.rmtree(name, ignore_errors=True)
    os.environ |= {"MMKIT_CACHE": str(out / "training"), "HF_HUB_OFFLINE": "1"}
    import torch
    from stand_ins import shrink_stand_ins

    torch.set_num_threads(1)
    shrink_stand_ins()
    sources: dict[str, Path] = {}
    for kept in RUNS:
        sources[kept.world] = trained(kept)
    for world, source in sources.items():
        cut(world, source)
    build_index(sources["posts"])
    for kept in RUNS:
        settle(kept, sources[kept.world])
    os.environ["MMKIT_CACHE"] = str(out / "cache")
    expected = {kept.called: expect(kept) for kept in RUNS if kept.packed}
    expected["search"] = searches()
    pack(out, expected)


def trained(kept: Kept) -> Path:
    """Train a run in `runs/`; returns where its sample's data are."""
    from mmkit import sample
    from mmkit.recipe import load_recipe
    from mmkit.training.train import train

    sample._trained = lambda recipe, section, tell: Path("trained") / Path(recipe.build(section).run).name  # type: ignore[assignment]
    recipe = sample.sampled(load_recipe(kept.recipe)).with_overrides(kept.smaller)
    run = Path("trained") / kept.called
    if not (run / "predictions").exists():
        train(recipe, run, device="cpu", quiet=True)
    shutil.copytree(run, Path("runs") / kept.called)
    return Path(recipe.config["data"]["test"]["root"])


def cut(world: str, source: Path) -> None:
    """Cut a dataset to `data/<world>`, with pictures."""
    import cuts

    from mmkit.recipe import load_recipe

    target = Path("data") / world
    match world:
        case "tweets" | "posts":
            cuts.tweets(source, target, {"train": 4, "valid": 2, "test": FEW})
        case "pairs" | "joint":
            cuts.pairs(source, target, {"train": 4, "val": 2, "test": FEW})
        case "mentions":
            cuts.mentions(source, target, {"train": 2, "dev": 2, "test": FEW}, others=4)
    recipe = load_recipe(next(f"runs/{k.called}/recipe.cfg" for k in reversed(RUNS) if k.world == world))
    for split in recipe.parts("data"):
        at_home = recipe.with_overrides({f"data.{split}.root": str(target)})
        cuts.pictures(at_home.build(f"data.{split}"), target, source)


def build_index(posts: Path) -> None:
    """Indexes of the articles that the kept posts name: one with pictures, and one of words alone."""
    import cuts
    from stand_ins import rounded

    from mmkit_more import jsonl_corpus

    words = set(Path("data/posts/test.txt").read_text(encoding="utf-8").split()) - {"at", "the", "of", "is"}
    corpus = next(Path("training/samples").glob("more.text_retrieval.v1-*-corpus/*/corpus.jsonl"))
    cuts.corpus(corpus, Path("data/corpus"), words, others=24)
    clip = next(path for path in Path("training/samples").glob("more.image_retrieval.v1-*-clip"))
    shutil.copytree(clip, "models/clip")
    rounded(Path("models/clip/model.safetensors"))
    whole = (
        jsonl_corpus.inside
    )  # an index knows absolute paths of its pictures, which are to be kept relative
    jsonl_corpus.inside = lambda folder, path: (found := whole(folder, path)) and os.path.relpath(found)  # type: ignore[assignment]
    build = ["more", "build-index", "data/corpus/corpus.jsonl"]
    _mmkit(*build, "indexes/more", "--clip", "models/clip", "--device", "cpu", "--quiet")
    _mmkit(*build, "indexes/words", "--no-images", "--quiet")


def settle(kept: Kept, source: Path) -> None:
    """Round a run's weights, and make its paths relative."""
    from stand_ins import rounded

    from mmkit.recipe import load_recipe

    folder = Path("runs") / kept.called
    rounded(folder / "model.safetensors")
    shutil.rmtree(folder / "predictions")
    for file in folder.rglob("recipe.cfg"):
        recipe = load_recipe(file)
        moved: dict[str, Any] = {f"data.{split}.root": f"data/{kept.world}" for split in recipe.parts("data")}
        for section, key in (("model.encoders", "name"), ("annotators", "name")):
            for name in recipe.parts(section):
                settings = recipe._within(f"{section}.{name}")
                model = Path(settings.get(key, ""))
                if model.is_absolute():
                    part = model.name.rpartition("-1234-")[0]
                    moved[f"{section}.{name}.{key}"] = f"models/{part}"
                    if section == "annotators" and not Path(f"models/{part}").exists():
                        shutil.copytree(model, f"models/{part}")
                        rounded(Path(f"models/{part}/model.safetensors"))
                if "index" in settings:
                    moved[f"{section}.{name}.index"] = "indexes/more"
                if "run" in settings:
                    moved[f"{section}.{name}.run"] = f"runs/{Path(settings['run']).name}"
        file.write_text(recipe.with_overrides(moved).to_str(), encoding="utf-8")
    facts = (folder / "run.json").read_text(encoding="utf-8")
    (folder / "run.json").write_text(facts.replace(str(source), f"data/{kept.world}"), encoding="utf-8")


def expect(kept: Kept) -> dict[str, Any]:
    """What today's code predicts with a settled run."""
    import mmkit
    from mmkit.data.jsonl import read_jsonl, to_json, write_jsonl
    from mmkit.data.types import Example
    from mmkit.recipe import load_recipe
    from mmkit.splits import read_split

    run, world = f"runs/{kept.called}", Path("data") / kept.world
    examples = read_split(load_recipe(f"{run}/recipe.cfg"), "test").examples
    inputs = world / f"{kept.called}.jsonl"
    write_jsonl(inputs, map(partial(_relative, world), examples), "examples")
    output = Path(f"{kept.called}.described.jsonl")
    figures = json.loads(_mmkit("evaluate", run, "--json", "--device", "cpu", "--quiet"))
    _mmkit("predict", run, "--input", str(inputs), "--output", str(output), "--device", "cpu")
    read = [x for x in read_jsonl(inputs, root=str(world)) if isinstance(x, Example)]
    asked = _asked(kept, read[0]) if kept.asked else []
    return {
        "inputs": str(inputs),
        "described": [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()],
        "predictions": [to_json(p) for p in mmkit.load(run, device="cpu").predict_batch(read)],
        "figures": figures,
        "asked": asked,
        "answer": json.loads(_mmkit("predict", run, *asked, "--json", "--device", "cpu")) if asked else None,
    }


def _relative(world: Path, x: Any) -> Any:
    def moved(image: Any) -> Any:
        return image if image.path is None else replace(image, path=os.path.relpath(image.path, world))

    return replace(x, images=tuple(map(moved, x.images)))


def _asked(kept: Kept, x: Any) -> list[str]:
    """Options of `mmkit predict` that ask for an example's text and first photo."""
    options = ["--text", x.text]
    if x.images:
        options += ["--image", x.images[0].path]
    if kept.asked == "pair":
        for role in ("head", "tail"):
            span = getattr(x.relations[0], role)
            options += [f"--{role}", " ".join(x.tokens[span.start : span.end])]
    if kept.asked == "mention":
        options += ["--mention", x.mention.text]
    return options


def searches() -> list[dict[str, Any]]:
    """What the index finds for some sentences and pictures."""
    sentences = [
        block for block in Path("data/posts/test.txt").read_text(encoding="utf-8").split("\n\n") if block
    ]
    words = [" ".join(line.split("\t")[0] for line in b.splitlines()[1:]) for b in sentences]
    photos = sorted(map(str, Path("data/posts/images").iterdir()))[:3]
    asked = [["--text", sentence] for sentence in words[:4]] + [["--image", photo] for photo in photos]
    found = []
    for options in asked:
        lines = _mmkit("more", "search", "indexes/more", *options, "--top", "3", "--json").splitlines()
        found.append({"options": options, "hits": [json.loads(line) for line in lines]})
    return found


def _mmkit(*arguments: str) -> str:
    from click.testing import CliRunner

    from mmkit.cli import main as mmkit

    result = CliRunner().invoke(mmkit, arguments, catch_exceptions=False)
    if result.exit_code:
        raise SystemExit(f"mmkit {' '.join(arguments)}: {result.output}{result.stderr}")
    return result.stdout


def pack(out: Path, expected: dict[str, Any]) -> None:
    """Put archives and what is expected into this folder."""
    from earlier_records import ENTITIES, EXAMPLES, PREDICTIONS
    from mmkit.data.jsonl import write_jsonl

    for name in ("runs", "expected", "jsonlines"):
        shutil.rmtree(HERE / name, ignore_errors=True)
        (HERE / name).mkdir()
    for kept in RUNS:
        if kept.packed:
            _archive(HERE / "runs" / f"{kept.called}.tar.xz", out, [f"runs/{kept.called}"])
    _archive(HERE / "rest.tar.xz", out, ["data", "models", "indexes"])
    _archive(
        HERE / "cache.tar.xz", out, [f"cache/{kind}" for kind in ("features", "entities", "annotations")]
    )
    for name, value in expected.items():
        text = json.dumps(value, indent=1, ensure_ascii=False)
        (HERE / "expected" / f"{name}.json").write_text(f"{text}\n", encoding="utf-8")
    for kind, records in (("examples", EXAMPLES), ("entities", ENTITIES), ("predictions", PREDICTIONS)):
        write_jsonl(HERE / "jsonlines" / f"{kind}.jsonl", records, kind)  # type: ignore[arg-type]


def _archive(path: Path, out: Path, names: Sequence[str]) -> None:
    """Equal files give equal bytes. Raises SystemExit for a file that names a folder of this machine."""
    files = sorted(f for name in names for f in (out / name).rglob("*") if f.is_file())
    with tarfile.open(path, "w:xz", preset=9) as archive:
        for file in files:
            if file.name.endswith(".lock"):
                continue
            if (
                str(out).encode() in file.read_bytes()
                or str(HERE.parent.parent).encode() in file.read_bytes()
            ):
                raise SystemExit(f"{file} names a folder of this machine")
            entry = tarfile.TarInfo(str(file.relative_to(out)))
            entry.size, entry.mode = file.stat().st_size, 0o644
            with file.open("rb") as opened:
                archive.addfile(entry, opened)


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
