"""Files that the tools' own libraries wrote, and files of ours that they read back."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pillow

from mmkit import Example, Image, Relation, Span, build_part
from mmkit.data.types import ORPHANS


def read(name: str, path: Path, **given: Any) -> list[Example]:
    return list(
        build_part("readers", f"formats.{name}.v1", {"root": str(path.parent), "file": path.name, **given})
    )


def write(name: str, path: Path, examples: list[Example], **given: Any) -> dict[str, int]:
    writer = build_part("writers", f"formats.{name}.v1", given)
    writer.write(path, examples)
    return dict(writer.losses)


def picture(colour: str) -> bytes:
    file = io.BytesIO()
    Pillow.new("RGB", (8, 8), colour).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def example(tmp_path: Path) -> Example:
    (tmp_path / "red.png").write_bytes(picture("red"))
    spans = (Span(0, 2, "PER"), Span(3, 4, "LOC"))
    tokens = ["Michael", "Jordan", "left", "Chicago", "!"]
    return Example.from_tokens("17", tokens, spans=spans, images=(Image("red.png"),))


def test_spacy_reads_and_writes_them(tmp_path: Path, example: Example) -> None:
    spacy = pytest.importorskip("spacy")
    from spacy.tokens import DocBin

    nlp = spacy.blank("en")
    doc = nlp("Michael Jordan  left Chicago!")
    doc.ents = [doc.char_span(0, 14, label="PER"), doc.char_span(21, 28, label="LOC", kb_id="Q1297")]
    doc.cats = {"sport": 1.0, "news": 0.0}
    DocBin(docs=[doc]).to_disk(tmp_path / "a.spacy")
    [found] = read("spacy", tmp_path / "a.spacy")
    assert found.text == "Michael Jordan  left Chicago!" and found.tokens == tuple(example.tokens)
    assert found.spans == example.spans and found.notes["formats.choices"] == {"cats": ["sport"]}
    assert write("spacy", tmp_path / "b.spacy", [found]) == {}
    [again] = DocBin().from_disk(tmp_path / "b.spacy").get_docs(nlp.vocab)
    assert [(e.text, e.label_, e.kb_id_) for e in again.ents] == [
        (e.text, e.label_, e.kb_id_) for e in doc.ents
    ]
    assert (again.text, dict(again.cats)) == (doc.text, dict(doc.cats))


def test_spacy_holds_overlapping_spans_in_a_group(tmp_path: Path) -> None:
    spacy = pytest.importorskip("spacy")
    crossing = Example.from_tokens("1", ["a", "b", "c"], spans=(Span(0, 2, "A"), Span(1, 3, "B")))
    write("spacy", tmp_path / "a.spacy", [crossing])
    [doc] = spacy.tokens.DocBin().from_disk(tmp_path / "a.spacy").get_docs(spacy.blank("xx").vocab)
    assert [(s.text, s.label_) for s in doc.spans["sc"]] == [("a b", "A"), ("b c", "B")]
    assert [x.spans for x in read("spacy", tmp_path / "a.spacy")] == [crossing.spans]


def test_datasets_reads_what_is_written(tmp_path: Path, example: Example) -> None:
    datasets = pytest.importorskip("datasets")
    noted = {"formats.choices": {"mood": ["glad"]}}
    other = Example.from_tokens(
        "18", ["a", "b"], spans=(Span(1, 2, "PER"),), notes={ORPHANS: [[1, 2]], **noted}
    )
    assert write("datasets", tmp_path / "x.parquet", [example, other]) == {}
    cache = str(tmp_path / "cache")
    loaded = datasets.load_dataset(
        "parquet", data_files=str(tmp_path / "x.parquet"), split="train", cache_dir=cache
    )
    assert loaded.features["ner_tags"].feature.names == ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    assert loaded[0]["ner_tags"] == [1, 2, 0, 3, 0] and loaded[1]["ner_tags"] == [0, 2]
    assert loaded[0]["image"].size == (8, 8) and loaded[1]["image"] is None
    assert loaded.features["mood"].names == ["glad"] and loaded["mood"][:] == [None, 0]


@pytest.mark.parametrize("form", ["folder", "splits", "parquet"])
def test_datasets_of_the_library_are_read(tmp_path: Path, form: str) -> None:
    datasets = pytest.importorskip("datasets")
    names = ["O", "B-PER", "I-PER"]
    features = datasets.Features(
        {
            "tokens": datasets.Sequence(datasets.Value("string")),
            "ner_tags": datasets.Sequence(datasets.ClassLabel(names=names)),
            "mood": datasets.ClassLabel(names=["sad", "glad"]),
            "image": datasets.Image(),
            "n": datasets.Value("int32"),
        }
    )
    rows = {
        "tokens": [["Michael", "Jordan", "left"], ["a"]],
        "ner_tags": [[1, 2, 0], [0]],
        "mood": [1, 0],
        "image": [{"bytes": picture("red"), "path": None}, None],
        "n": [5, 6],
    }
    made = datasets.Dataset.from_dict(rows, features=features)
    path, more = tmp_path / "data", {}
    if form == "folder":
        made.save_to_disk(path)
    elif form == "splits":
        datasets.DatasetDict({"train": made, "test": made.select([1])}).save_to_disk(path)
        more = {"split": "train"}
    else:
        path = tmp_path / "data.parquet"
        made.to_parquet(path)
    first, second = read("datasets", path, pictures=str(tmp_path / "pictures"), **more)
    assert first.tokens == ("Michael", "Jordan", "left") and first.spans == (Span(0, 2, "PER"),)
    assert first.notes == {"formats.choices": {"mood": ["glad"]}, "formats.datasets": {"columns": {"n": 5}}}
    assert Path(str(first.images[0].path)).read_bytes() == picture("red")
    assert second.notes["formats.choices"] == {"mood": ["sad"]} and second.images == ()
    assert [x.images for x in read("datasets", path, blank_images=True, **more)] == [(Image(None),), ()]


def test_webdataset_reads_what_is_written(tmp_path: Path, example: Example) -> None:
    webdataset = pytest.importorskip("webdataset")
    twice = (*example.images, Image("red.png", "object", (0.0, 0.0, 4.0, 4.0)))
    related = Example.from_tokens(
        "18", ["a", "b"], images=twice, relations=(Relation(Span(0, 1, "A"), Span(1, 2, "B"), "r"),)
    )
    write("webdataset", tmp_path / "x-%03d.tar", [example, related], samples=1)
    shards = [str(tmp_path / f"x-00{i}.tar") for i in range(2)]
    found = list(webdataset.WebDataset(shards, shardshuffle=False, empty_check=False).decode("pil"))
    assert [sample["json"]["id"] for sample in found] == ["17", "18"]
    assert found[0]["png"].size == (8, 8) and sorted(found[1]) == sorted(
        ["__key__", "__url__", "__local_path__", "json", "png"]
    )
    again = read("webdataset", tmp_path / "x-{000..001}.tar", pictures=str(tmp_path / "kept"))
    assert [x.relations for x in again] == [(), related.relations]
    assert [i.box for i in again[1].images] == [None, (0.0, 0.0, 4.0, 4.0)]
    assert len({i.path for x in again for i in x.images}) == 1


def test_shards_of_the_library_are_read(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    with webdataset.TarWriter(str(tmp_path / "x.tar")) as sink:
        sink.write({"__key__": "a/1", "png": picture("red"), "json": {"text": "Jordan left"}})
        sink.write({"__key__": "a/2", "jpg": Pillow.new("RGB", (4, 4)), "txt": "Chicago", "cls": 3})
    tasks = build_part("readers", "formats.webdataset.v1", {"root": str(tmp_path), "file": "x.tar"})
    first, second = tasks
    assert (first.id, first.text, second.id, second.text) == ("a/1", "Jordan left", "a/2", "Chicago")
    assert Path(str(first.images[0].path)).read_bytes() == picture("red") and len(second.images) == 1
    assert tasks.repairs == {"member .cls that is not read": 1}


def test_label_studio_converts_what_is_written(tmp_path: Path, example: Example) -> None:
    """The converter of Label Studio's own SDK makes CoNLL of our tasks."""
    converter = pytest.importorskip("label_studio_sdk.converter")
    write("label_studio", tmp_path / "import.json", [example])
    tasks = json.loads((tmp_path / "import.json").read_text())
    tasks = [{"id": i, **task} for i, task in enumerate(tasks)]  # as the tool numbers them
    (tmp_path / "tasks.json").write_text(json.dumps(tasks))
    labels = '<Labels name="label" toName="text"><Label value="PER"/></Labels>'
    config = f'<View>{labels}<Text name="text" value="$text"/></View>'
    made = converter.Converter(config, str(tmp_path))
    made.convert_to_conll2003(str(tmp_path / "tasks.json"), str(tmp_path / "out"), is_dir=False)
    [found] = read("conll", next((tmp_path / "out").glob("*.conll")))
    assert found.tokens == example.tokens and found.spans == example.spans


def test_pandas_reads_the_tables(tmp_path: Path, example: Example) -> None:
    pandas = pytest.importorskip("pandas")
    write("parquet", tmp_path / "x.parquet", [example])
    write("csv", tmp_path / "x.csv", [example])
    table = pandas.read_parquet(tmp_path / "x.parquet")
    assert list(table.ner_tags[0]) == ["B-PER", "I-PER", "O", "B-LOC", "O"]
    table[["text", "ner_tags", "tokens"]].assign(likes=[3]).to_parquet(tmp_path / "y.parquet")
    [again] = read("parquet", tmp_path / "y.parquet")
    assert again.spans == example.spans and again.notes == {"formats.parquet": {"columns": {"likes": 3}}}
    told = pandas.read_csv(tmp_path / "x.csv")
    assert json.loads(told.spans[0])[0]["text"] == "Michael Jordan"
    told[["text", "spans"]].rename(columns={"text": "post"}).to_csv(tmp_path / "y.csv", index=False)
    assert [x.spans for x in read("csv", tmp_path / "y.csv", columns={"text": "post"})] == [example.spans]
