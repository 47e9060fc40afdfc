"""Relations, joint extraction and links with photos over HTTP: every route answers as Python does."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

import mmkit
from mmkit_serve.runs import load_runs
from raising import raises
from serving import Served, error

PAIRS: dict[str, Any] = {
    "recipe": {"format": 1},
    "data.train": {"@readers": "mmkit.mnre.v1", "root": "data", "file": "train.txt"},
    "model.encoders.text": {"@encoders": "mmkit.transformer.v1", "name": "bert-base-uncased"},
    "model.encoders.vision": {"@encoders": "mmkit.timm.v1", "name": "resnet18"},
    "model.fuser": {"@fusers": "mmkit.concat.v1"},
    "model.decoder": {"@decoders": "mmkit.pair_classifier.v1"},
    "training": {"epochs": 1, "learning_rate": 3e-3, "batch_size": 16},
}
PAIR = {"text": "Jordan met Jordan in Paris", "head": [2, 3], "tail": "Paris"}
BORN = "wow , Jordan and Georgia today , Emily Carter was born in Lake Como"


@pytest.fixture(scope="module")
def asked(
    serve: Served, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., tuple[mmkit.Predictor, httpx.Client]]]:
    """`model, client = asked(recipe, epochs=1)`: a run in Python, and a client of a server of it."""
    open_servers = []

    def asking(recipe: Any, epochs: int = 1) -> tuple[mmkit.Predictor, httpx.Client]:
        folder = tmp_path_factory.mktemp("runs") / "run"
        mmkit.train(mmkit.sampled(recipe), {"training.epochs": epochs}, output=folder, device="cpu")
        serving = serve(load_runs([str(folder)], "cpu"))
        open_servers.append(serving)
        return mmkit.load(folder, device="cpu"), serving.__enter__()

    yield asking
    for serving in open_servers:
        serving.__exit__(None, None, None)


def plain(value: Any) -> Any:
    """JSON without images' names, and with scores that do not depend on what was computed together."""
    if isinstance(value, dict):
        return {k: round(v, 3) if k == "score" else plain(v) for k, v in value.items() if k != "path"}
    return [plain(one) for one in value] if isinstance(value, list) else value


def without(answer: dict[str, Any], *names: str) -> Any:
    """An answer without what a route names itself."""
    return plain({name: value for name, value in answer.items() if name not in ("id", "images", *names)})


def answers_everywhere(
    model: mmkit.Predictor, client: httpx.Client, photo: bytes, record: dict[str, Any]
) -> Any:
    """The answer with a photo, which is the same by all routes; without one, `predict` answers as Python."""
    given = {name: tuple(v) if isinstance(v, list) else v for name, v in record.items() if name != "text"}
    wanted = without(json.loads(json.dumps(model.predict(record["text"], [photo], **given).to_dict())))
    pictured = {**record, "images": [base64.b64encode(photo).decode()]}
    form = {name: str(v) if isinstance(v, list) else v for name, v in record.items()}
    many = client.post("/v1/runs/run/predict-many", json={"requests": [pictured, record]}).json()["answers"]
    lines = f"{json.dumps(pictured)}\n{json.dumps(record)}\n".encode()
    batch = client.post("/v1/runs/run/batch", content=lines, headers={"content-type": "application/jsonl"})
    found = [json.loads(line) for line in batch.text.splitlines()]
    for answer in (
        client.post("/v1/runs/run/predict", json=pictured).json()["answer"],
        client.post("/v1/runs/run/predict", data=form, files=[("images", ("a.jpg", photo))]).json()["answer"],
        many[0],
        found[0],
    ):
        assert without(answer) == wanted
    blank = model.predict(record["text"], **given).to_dict()
    for answer in (client.post("/v1/runs/run/predict", json=record).json()["answer"], many[1], found[1]):
        assert without(answer) == without(json.loads(json.dumps(blank))) and answer["without_image"]
    return wanted


def test_relations(asked: Any, photo: bytes) -> None:
    model, client = asked(PAIRS)
    [relation] = answers_everywhere(model, client, photo, PAIR)["relations"]
    assert (relation["head"]["start"], relation["tail"]["start"]) == (2, 4)
    assert relation["label"] in client.get("/v1/runs/run").json()["labels"]["relations"]
    first = client.post("/v1/runs/run/predict", json={**PAIR, "head": "Jordan"}).json()["answer"]
    assert first["relations"][0]["head"]["start"] == 0

    half = {name: PAIR[name] for name in ("text", "head")}
    lines = "\n".join(json.dumps(record) for record in [PAIR, {"text": "no pair"}, {**PAIR, "tail": [4, 9]}])
    batch = client.post(
        "/v1/runs/run/batch", content=lines.encode(), headers={"content-type": "application/jsonl"}
    )
    one = client.post("/v1/runs/run/predict", json=half)
    several = client.post("/v1/runs/run/predict-many", json={"requests": [PAIR, half]})
    assert error(one) == error(several) == (422, "input.half-pair")
    refused = [json.loads(line)["error"] for line in batch.text.splitlines()[1:]]
    refused += [one.json()["error"], several.json()["error"]]
    assert [e["where"] for e in refused] == ["line 2", "line 3", "the request", "requests[1]"]
    assert [e["code"] for e in refused[:2]] == ["task.no-pair", "input.span-outside"]
    assert refused[0]["hint"] == "give words of the text as `head` and `tail`"  # fields, and no options
    assert client.post("/v1/runs/run/link", json=PAIR).status_code == 404


@pytest.mark.matrix
def test_entities_and_their_relations(asked: Any, photo: bytes) -> None:
    pytest.importorskip("mmkit_tesga")
    model, client = asked("tesga_mnre_joint", epochs=9)
    assert answers_everywhere(model, client, photo, {"text": BORN})["entities"]
    answer = client.post("/v1/runs/run/predict", json={"text": BORN}).json()["answer"]
    assert answer["entities"] and answer["relations"]
    labels = client.get("/v1/runs/run").json()["labels"]
    assert {entity["label"] for entity in answer["entities"]} <= set(labels["types"])
    assert {relation["label"] for relation in answer["relations"]} <= set(labels["relations"])
    pair = client.post("/v1/runs/run/predict", json={"text": BORN, "head": "Jordan", "tail": "Georgia"})
    assert error(pair) == (422, "input.not-for-task")
    assert pair.json()["error"]["hint"] == "remove `head` and `tail`"


def test_links_of_a_mention_with_a_photo(asked: Any, photo: bytes) -> None:
    pytest.importorskip("mmkit_dwe")
    model, client = asked("dwe_wikimel")
    record = {"text": "look at Jordan !", "mention": "Jordan"}
    answer = answers_everywhere(model, client, photo, record)
    wanted = [link.entity for link in model.link(record["text"], record["mention"], [photo], top=3)]
    form = {name: (None, value) for name, value in {**record, "top": "3"}.items()}
    linked = client.post("/v1/runs/run/link", files=[*form.items(), ("images", ("a.jpg", photo))]).json()
    assert [link["entity"] for link in linked["links"]] == wanted
    assert [link["entity"] for link in answer["links"][:3]] == wanted
    shown = client.post("/v1/runs/run/predict?html=true", json=record).json()["html"]
    assert '<mark title="mention">Jordan</mark>' in shown
    alone = client.post("/v1/runs/run/link", json={"text": record["text"]})
    assert error(alone) == (422, "input.no-mention")
    assert alone.json()["error"]["hint"] == "give its words as `mention`"
    pictures = {
        entity.id: client.get("/v1/runs/run/entity-image", params={"id": entity.id}).status_code
        for entity in model.model.entities
    }
    with_file = {e.id for e in model.model.entities if any(image.path for image in e.images)}
    assert {id for id, status in pictures.items() if status == 200} == with_file
    assert set(pictures.values()) <= {200, 204}


def test_a_knowledge_base_for_the_runs_that_link(serve, tagger, linker, tmp_path):
    kb = tmp_path / "kb.jsonl"
    kb.write_text(
        '{"format": 1, "kind": "entities"}\n'
        '{"id": "Q1", "name": "Michael Jordan", "description": "a basketball player"}\n'
        '{"id": "Q2", "name": "Jordan", "description": "a country in Asia"}\n',
        encoding="utf-8",
    )
    served = load_runs([f"tags={tagger}", f"links={linker}"], "cpu", entities=kb)
    with serve(served) as client:
        links = client.post(
            "/v1/runs/links/link", json={"text": "look at Jordan !", "mention": "Jordan"}
        ).json()["links"]
    assert {link["entity"] for link in links} == {"Q1", "Q2"}
    with raises("serve.no-linker", match=re.escape(str(kb))):
        load_runs([str(tagger)], "cpu", entities=kb)


def test_an_image_outside_the_folders_of_the_knowledge_base_is_not_shown(
    serve, linker, photo, tmp_path, caplog
):
    (tmp_path / "kb").mkdir()
    (tmp_path / "secret.jpg").write_bytes(photo)
    (tmp_path / "kb" / "own.jpg").write_bytes(photo)
    lines = [
        {"id": id, "name": id, "description": "a man", "images": [image]}
        for id, image in (("Q1", "own.jpg"), ("Q2", "../secret.jpg"), ("Q3", str(tmp_path / "secret.jpg")))
    ]
    kb = tmp_path / "kb" / "kb.jsonl"
    kb.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    for more, statuses in ([], [200, 204, 204]), ([tmp_path], [200, 200, 200]):
        caplog.clear()
        with serve(load_runs([f"run={linker}"], "cpu", entities=kb, pictures=more)) as client:
            found = [client.get("/v1/runs/run/entity-image", params={"id": line["id"]}) for line in lines]
        assert [one.status_code for one in found] == statuses
        logged = [r for r in caplog.records if r.getMessage() == "entity_image_outside"]
        assert len(logged) == statuses.count(204)
