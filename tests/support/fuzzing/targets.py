"""What is fuzzed: for each kind of file that mmkit reads, sound files to begin with, and how they are read."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from fuzzing.mutations import damaged
from mmkit import registry
from mmkit.data.reader import Reader
from mmkit.errors import MMKitError

MOST_RECORDS = 20_000
PICTURES = frozenset({".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ico", ".ppm"})


@dataclass(frozen=True)
class Target:
    """Sound files in a folder, which ones are damaged, and what reads them.

    `read` returns or raises `MMKitError` with a code; everything else is a failure.
    """

    files: Sequence[Path]
    read: Callable[[], object]
    folder: Path


def run_case(target: Target, rng: Random) -> tuple[str, list[str]]:
    """How a case ended (`read`, or an error's code), and what was damaged. Raises what is a failure."""
    with damaged(target.folder, target.files, rng) as told:
        try:
            target.read()
        except MMKitError as error:
            if not error.code or not error.what:
                raise AssertionError(f"an error without a code or a message: {error!r}") from error
            str(error)
            return error.code, told
    return "read", told


def make(name: str, folder: Path) -> Target:
    """The target of a name, its sound files in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    kind, _, detail = name.partition("/")
    return MAKERS[kind](folder, detail)


def names() -> list[str]:
    """All targets that can be fuzzed with what is installed."""
    found = [f"reader/{name}" for name in registry.readers.names() if _has_sample(name)]
    found += ["recipe/", "pictures/", "score/", "score/described", "shards/", "crops/", "knowledge/"]
    found += ["run/tagger", "run/linker"]
    if "retrieval.text.v1" in registry.annotators.names():
        found += [
            "corpus/jsonl",
            "corpus/wikipedia",
            "index/text",
            "search/elasticsearch",
            "search/opensearch",
        ]
    if "dim.entity_descriptions.v1" in registry.annotators.names():
        found += ["chat/"]
    return found


def drained(records: Any) -> int:
    """Reads records to the end, or as many as are enough."""
    return sum(1 for _ in itertools.islice(iter(records), MOST_RECORDS))


def below(folder: Path, pictures: bool = False) -> list[Path]:
    """The files in a folder, without the pictures unless those are asked for."""
    found = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "complete")
    return [path for path in found if (path.suffix.lower() in PICTURES) is pictures]


# Readers


def _has_sample(name: str) -> bool:
    """Whether a reader draws a sample of its own, which is what is damaged."""
    return registry.get("readers", name).sample.__func__ is not Reader.sample.__func__  # type: ignore[attr-defined]


def _reader(folder: Path, name: str) -> Target:
    """A reader on its own sample."""
    part = registry.get("readers", name)
    splits = part.sample(folder / "sample", 7)  # type: ignore[attr-defined]
    settings = _complete(name, next(iter(splits.values())))

    def read() -> None:
        reader = registry.build_part("readers", name, settings)
        drained(reader)
        for reason, count in reader.repairs.items():
            assert isinstance(reason, str) and count >= 0

    read()
    reader = registry.build_part("readers", name, settings)
    known = [path for path in reader.files() if path.is_file()]
    return Target(known * 3 + below(folder), read, folder)


def _complete(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """A sample's settings, with the file that a recipe would have named where the sample names none."""
    if "file" in settings:
        return settings
    for path in sorted(Path(settings["root"]).glob("*.json")):
        try:
            if drained(registry.build_part("readers", name, {**settings, "file": path.name})):
                return {**settings, "file": path.name}
        except MMKitError:
            continue
    raise LookupError(f"no file of the sample of {name} is read by it")


# Single files


def _recipe(folder: Path, _: str) -> Target:
    from mmkit.recipe import load_recipe, recipe_folders

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


def _pictures(folder: Path, _: str) -> Target:
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


def _score(folder: Path, form: str) -> Target:
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


def _shards(folder: Path, _: str) -> Target:
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


def _crops(folder: Path, _: str) -> Target:
    """A CoNLL file beside a table of crops and boxes."""
    name = "mmkit.conll_images.v1"
    splits = registry.get("readers", name).sample(folder / "sample", 7)  # type: ignore[attr-defined]
    settings = splits["train"]

    def read() -> None:
        drained(registry.build_part("readers", name, settings))

    read()
    tables = [path for path in below(folder) if path.suffix == ".json"]
    return Target(tables or below(folder), read, folder)


def _knowledge(folder: Path, _: str) -> Target:
    """A stored knowledge base, as it lies in the cache."""
    from mmkit.data.knowledge import KnowledgeBase
    from mmkit.data.types import Entity

    entities = [Entity(f"Q{n}", f"name {n}", description="x" * n, aliases=(f"alias {n}",)) for n in range(50)]
    KnowledgeBase.build(folder / "base", entities)

    def read() -> None:
        base = KnowledgeBase(folder / "base")
        base.rows(["Q1", "Q49", "Q50"])
        drained(base)

    read()
    return Target(below(folder), read, folder)


# Runs


def _run(folder: Path, kind: str) -> Target:
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


# What the plugins read


def _corpus(folder: Path, kind: str) -> Target:
    from mmkit_retrieval.corpora.formats import open_corpus

    if kind == "jsonl":
        path = folder / "corpus.jsonl"
        articles = ({"id": str(n), "title": f"T{n}", "text": f"Paris {n}.\n\nIt is old."} for n in range(20))
        path.write_text("".join(json.dumps(article) + "\n" for article in articles), encoding="utf-8")
    else:
        path = folder / "dump.xml"
        text = (
            "'''Paris''' is a [[city|big city]] in {{link|France}}.&lt;ref&gt;x&lt;/ref&gt;\n\n== Past ==\n"
            "* old\n{| class=x\n|-\n| a || b\n|}\n[[File:a.jpg|thumb|upright=1.2|A [[view]]]]\n{{lang|fr|P}}"
        )
        pages = "".join(
            f"<page><title>T{n}</title><ns>0</ns><id>{n}</id><revision><model>wikitext</model>"
            f"<text>{text}</text></revision></page>\n"
            for n in range(6)
        )
        path.write_text(
            "<mediawiki><siteinfo><case>first-letter</case><namespaces>"
            f'<namespace key="6">File</namespace></namespaces></siteinfo>{pages}</mediawiki>'
        )
    read = lambda: drained(open_corpus(path))  # noqa: E731
    read()
    return Target([path], read, folder)


def _index(folder: Path, _: str) -> Target:
    from mmkit_retrieval.indexing.build import build_index
    from mmkit_retrieval.indexing.index_folder import read_facts
    from mmkit_retrieval.text.text_index import TextIndex

    corpus = folder / "corpus.jsonl"
    articles = ({"id": str(n), "title": f"T{n}", "text": f"Paris number {n} is old."} for n in range(30))
    corpus.write_text("".join(json.dumps(article) + "\n" for article in articles), encoding="utf-8")
    index = folder / "index"
    build_index(corpus, index, pictures=False)

    def read() -> None:
        read_facts(index)
        TextIndex.open(index / "text").search(["Paris is old"], 5)

    read()
    return Target([path for path in below(index) if not path.name.startswith(".")], read, folder)


def _search(folder: Path, kind: str) -> Target:
    """A search server's answer."""
    from fuzzing.servers import Answering
    from mmkit_retrieval.servers.search_servers import SearchServer

    source = {"article": "7", "number": 0, "title": "Jordan", "text": "The river flows ."}
    hits = [{"_index": "wiki", "_id": "1", "_score": 1.5, "_source": source}] * 3
    answer = folder / "answer.json"
    answer.write_text(json.dumps({"took": 1, "responses": [{"status": 200, "hits": {"hits": hits}}]}))
    server = Answering(answer, "Elasticsearch" if kind == "elasticsearch" else "")

    def read() -> None:
        SearchServer(kind, server.url, "wiki", timeout=5).search(["Paris"], 5)  # type: ignore[arg-type]

    read()
    return Target([answer], read, folder)


def _chat(folder: Path, _: str) -> Target:
    """A chat server's answer."""
    from fuzzing.servers import Answering
    from mmkit_dim.chat_server import ChatServer
    from mmkit_dim.endpoint import Endpoint

    message = {"role": "assistant", "content": "Paris is a city. It is old."}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    answer = folder / "answer.json"
    answer.write_text(json.dumps({"id": "1", "object": "chat.completion", "created": 0, "choices": [choice]}))
    server = Answering(answer, "")

    def read() -> None:
        asked = ChatServer(Endpoint.of(f"{server.url}/v1"), "m", {}, retries=0, timeout=5.0)
        (said,) = asked.ask(["Who is it?"])
        str(said)

    read()
    return Target([answer], read, folder)


MAKERS: dict[str, Callable[[Path, str], Target]] = {
    "reader": _reader,
    "recipe": _recipe,
    "pictures": _pictures,
    "score": _score,
    "shards": _shards,
    "crops": _crops,
    "knowledge": _knowledge,
    "run": _run,
    "corpus": _corpus,
    "index": _index,
    "search": _search,
    "chat": _chat,
}
