"""Files that the core reads besides datasets: recipes, images, answers to score, stored features, runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fuzzing.target import Target, below
from mmkit import registry


def recipe(folder: Path, _: str) -> Target:
    from mmkit.recipe import load_recipe
    from mmkit.recipe_names import recipe_folders

    for place in recipe_folders():
        for file in sorted(place.glob("*.cfg"))[:2]:
            (folder / file.name).write_bytes(file.read_bytes())
    files = sorted(folder.glob("*.cfg"))
    for file in files[:1]:
        file.with_name(f"filled_{file.name}").write_text(load_recipe(file).to_str(), encoding="utf-8")
    files = sorted(folder.glob("*.cfg"))
    sound = {file: file.read_bytes() for file in files}
    return Target(files, lambda: _each_changed(files, sound, lambda f: load_recipe(f).to_str()), folder)


def _each_changed(files: Sequence[Path], sound: dict[Path, bytes], read: Callable[[Path], object]) -> None:
    """Read the files that are not as they were."""
    for file in files:
        if not file.is_file() or file.stat().st_size != len(sound[file]) or file.read_bytes() != sound[file]:
            read(file)


def pictures(folder: Path, _: str) -> Target:
    from PIL import Image as Pillow
    from PIL import PngImagePlugin

    from mmkit.data.images import content_key, open_image
    from mmkit.data.types import Image

    picture = Pillow.effect_noise((40, 30), 60).convert("RGB")
    exif = picture.getexif()
    exif[0x0112] = 6
    formats: dict[str, dict[str, Any]] = {
        "png": {"pnginfo": _chunks(PngImagePlugin.PngInfo())}, "jpg": {"exif": exif}, "gif": {}, "bmp": {},
        "tiff": {"compression": "tiff_lzw"}, "webp": {}, "ico": {}, "ppm": {}, "tga": {}, "jp2": {}, "avif": {},
    }  # fmt: skip
    for ending, options in formats.items():
        try:
            picture.save(folder / f"a.{ending}", **options)
            picture.convert("P").save(folder / f"p.{ending}", **options)
        except (OSError, ValueError, KeyError):  # not with this Pillow
            (folder / f"p.{ending}").unlink(missing_ok=True)
    picture.save(folder / "frames.gif", save_all=True, append_images=[picture.rotate(90)])
    files = sorted(folder.iterdir())
    sound = {file: file.read_bytes() for file in files}

    def read(file: Path) -> None:
        image = Image(str(file), box=(1.0, 1.0, 9.0, 9.0))
        content_key(image)
        open_image(image).load()
        open_image(Image(str(file))).load()

    return Target(files, lambda: _each_changed(files, sound, read), folder)


def _chunks(info: Any) -> Any:
    info.add_text("Comment", "x" * 200, zip=True)
    info.add_itxt("XML:com.adobe.xmp", "<x:xmpmeta/>")
    return info


def score(folder: Path, form: str) -> Target:
    from mmkit.data.jsonlines import write_jsonl
    from mmkit.data.types import Example, Prediction, Relation, Span
    from mmkit.inference.score import score_files
    from mmkit.tasks import JointTask

    tokens = ["Jordan", "meets", "Ada", "in", "Paris"]
    spans = (Span(0, 1, "PER"), Span(2, 3, "PER"), Span(4, 5, "LOC"))
    relation = Relation(spans[0], spans[1], "knows")
    examples = [
        Example.from_tokens(str(n), tokens, spans=spans[: n % 4], relations=(relation,) if n % 4 > 1 else ())
        for n in range(12)
    ]
    predictions = [Prediction.of(x) for x in examples]
    gold, found = folder / "gold.jsonl", folder / "found.jsonl"
    write_jsonl(gold, examples, "examples")
    if form:
        task = JointTask()
        answers = (task.answer(x, p, ()).to_dict() for x, p in zip(examples, predictions, strict=True))
        found.write_text("".join(json.dumps(answer) + "\n" for answer in answers), encoding="utf-8")
    else:
        write_jsonl(found, predictions, "predictions")

    def read() -> None:
        for name in ("mmkit.joint_f1.v1", "mmkit.span_f1.v1"):
            score_files(gold, found, registry.build_part("metrics", name, {}))

    read()
    return Target([gold, found], read, folder)


def shards(folder: Path, _: str) -> Target:
    import torch

    from mmkit.encoders.shards import Shards

    torch.manual_seed(0)
    shards = Shards(folder)
    shards.append(["a", "b"], {"pooled": torch.randn(2, 4), "mask": torch.ones(2, dtype=torch.bool)})
    shards.append(["c"], {"tokens": torch.randn(5, 3), "lengths": torch.tensor([5])})
    sound = {key: {n: t.clone() for n, t in shards.shards[shard].tensors.items()}
             for key, (shard, _) in shards.where.items()}  # fmt: skip

    def read() -> None:
        opened = Shards(folder)
        for key, (shard, _row) in opened.where.items():  # what is not found damaged is what was written
            tensors = opened.shards[shard].tensors
            assert tensors.keys() == sound[key].keys(), f"{key} has other features"
            for name, tensor in tensors.items():
                assert torch.equal(tensor, sound[key][name]), f"{name} of {key} was altered, unseen"

    return Target(sorted(folder.glob("*.safetensors")), read, folder)


def run(folder: Path, kind: str) -> Target:
    """A run folder that somebody else gave."""
    import mmkit
    from mmkit.loading.sample import sampled
    from mmkit.recipe import load_recipe
    from mmkit.training.train import train

    name = {"tagger": "text_only_twitter15", "linker": "text_only_richpedia"}[kind]
    run = folder / "run"
    settings = {"training.epochs": 1, "training.eval_from": 1}
    train(sampled(load_recipe(name)).with_overrides(settings), run, device="cpu", quiet=True)
    facts = json.loads((run / "run.json").read_text(encoding="utf-8"))
    facts.pop(
        "files", None
    )  # the checksums, by which most damage would be found: whoever makes a run makes them, too
    (run / "run.json").write_text(json.dumps(facts), encoding="utf-8")
    asked: dict[str, Any] = {"mention": "Jordan"} if kind == "linker" else {}

    def read() -> None:
        mmkit.load(run, device="cpu").predict("look at Jordan in Paris", **asked)

    read()
    weights = run / "model.safetensors"
    small = [path for path in below(run) if path != weights and path.parent.name != "predictions"]
    return Target([*small * 2, weights, run / "recipe.cfg", run / "recipe.cfg"], read, folder)
