"""The API answers what the run answers in Python, in every form of request, and describes itself."""

from __future__ import annotations

import base64
import json
import re
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest

import mmkit
from mmkit_serve.runs import load_runs, version_of
from serving import TEXT, Served

TEXTS = [TEXT, "nothing", "Paris again and again , said Jordan .", "more about ORG soon", "last one ?"]


@pytest.fixture(scope="module")
def model(tagger: Path) -> mmkit.Predictor:
    return mmkit.load(tagger, device="cpu")


def found(answer: dict) -> list[tuple]:
    return [(e["text"], e["label"], e["start"], round(e["score"], 3)) for e in answer["entities"]]


def test_json_and_forms_answer_as_python_does(
    client: httpx.Client, model: mmkit.Predictor, photo: bytes
) -> None:
    wanted = model.predict(TEXT, images=[photo]).to_dict()
    image = base64.b64encode(photo).decode()
    path = "/v1/runs/tagger/predict"
    form = client.post(path, data={"text": TEXT}, files=[("images", ("C:\\photos\\me.jpg", photo))])
    for response, name in [
        (client.post(path, json={"text": TEXT, "images": [image]}), "image 0"),
        (client.post(path, json={"text": TEXT, "images": ["data:image/jpeg;base64," + image]}), "image 0"),
        (client.post(path, json={"text": TEXT, "images": [{"name": "a/b.jpg", "data": image}]}), "b.jpg"),
        (form, "me.jpg"),
    ]:
        assert response.status_code == 200, response.text
        body = response.json()
        assert body["run"] == "tagger" and body["answer"]["images"] == [name]
        assert found(body["answer"]) == found(wanted)
        assert "without_image" not in body["answer"]


def test_tokens_unicode_and_ids(client: httpx.Client, model: mmkit.Predictor) -> None:
    text = "😀 Zoë — Ελλάδα \u202e Jordan"
    response = client.post("/v1/runs/tagger/predict", json={"text": text, "id": "a ✓"})
    answer = response.json()["answer"]
    assert answer["id"] == "a ✓" and answer["text"] == text
    assert found(answer) == found(model.predict(text).to_dict())
    tokens = client.post("/v1/runs/tagger/predict", json={"text": ["look", "at", "Jordan"]}).json()["answer"]
    assert tokens["tokens"] == ["look", "at", "Jordan"]


def test_html_is_the_tasks_own(client: httpx.Client, model: mmkit.Predictor) -> None:
    response = client.post("/v1/runs/tagger/predict", params={"html": "true"}, json={"text": "<b>Jordan</b>"})
    html = response.json()["html"]
    assert html == model.task.html(model.predict("<b>Jordan</b>")) and "<b>" not in html


def test_many_texts_and_a_batch_upload_keep_their_order(client: httpx.Client, model: mmkit.Predictor) -> None:
    wanted = [found(answer.to_dict()) for answer in model.predict_many(TEXTS)]
    many = client.post("/v1/runs/tagger/predict-many", json={"requests": [{"text": t} for t in TEXTS]})
    answers = many.json()["answers"]
    assert [found(answer) for answer in answers] == wanted
    assert [answer["id"] for answer in answers] == [f"input-{i}" for i in range(len(TEXTS))]

    lines = [json.dumps({"text": text}) for text in TEXTS * 40]
    lines[3:3] = ["", "not json", '{"text": 3}', '{"txt": "a"}', '{"text": "a", "images": ["cGx1bQ=="]}']
    response = client.post(
        "/v1/runs/tagger/batch",
        content="\n".join(lines).encode(),
        headers={"content-type": "application/jsonl"},
    )
    assert response.headers["content-type"].startswith("application/jsonl")
    told = [json.loads(line) for line in response.text.splitlines()]
    errors = [(line["error"]["code"], line["error"]["where"]) for line in told[3:7]]
    assert [code for code, _ in errors] == ["json.syntax", "input.text", "serve.fields", "image.format"]
    assert [where for _, where in errors[:3]] == ["line 5", "line 6", "line 7"]
    assert [found(answer) for answer in told[:3] + told[7:]] == wanted * 40


def test_the_runs_say_what_they_are(client: httpx.Client, model: mmkit.Predictor, tagger: Path) -> None:
    body = client.get("/v1/runs").json()
    [run] = body["runs"]
    assert run == client.get("/v1/runs/tagger").json()
    assert run["labels"] == {name: model.model.labels[name] for name in ("types", "tags")}
    assert run["task"] == "entities"
    assert run["answer"] == model.task.schema() and run["scores"] == model.figures
    assert re.fullmatch("[0-9a-f]{12}", run["version"])
    assert body["limits"]["images"] == 3


def test_a_version_follows_the_files(tagger: Path) -> None:
    facts = json.loads((tagger / "run.json").read_text())
    version = version_of(tagger, facts)
    assert version == version_of(tagger, json.loads(json.dumps(facts)))
    facts["files"]["labels.json"]["sha256"] = "0" * 64
    assert version_of(tagger, facts) != version
    assert re.fullmatch("[0-9a-f]{12}", version_of(tagger, {}))


def test_the_description_is_made_from_the_task(client: httpx.Client, model: mmkit.Predictor) -> None:
    described = client.get("/openapi.json").json()
    predict = described["paths"]["/v1/runs/tagger/predict"]["post"]
    content = predict["requestBody"]["content"]
    assert content.keys() == {"application/json", "multipart/form-data"}
    assert content["application/json"]["schema"]["properties"].keys() == {"text", "images", "id"}
    answer = predict["responses"]["200"]["content"]["application/json"]["schema"]["properties"]["answer"]
    assert answer["properties"] == model.task.schema()["properties"]
    assert "/v1/runs/tagger/link" not in described["paths"]


def test_the_documentation_asks_nobody_else(client: httpx.Client) -> None:
    docs = client.get("/docs")
    policy = docs.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "http" not in policy
    linked = re.findall(r'(?:src|href)="([^"]+)"', docs.text)
    assert "static/swagger-ui-bundle.js" in linked
    for link in linked:
        assert not link.startswith(("http", "//"))
        if not link.startswith("data:"):
            assert client.get(f"/{link}").status_code == 200
    assert find_spec("fastapi_offline") is not None


def test_metrics_count_requests_and_batches(serve: Served) -> None:
    with serve() as client:
        for _ in range(3):
            client.post("/v1/runs/tagger/predict", json={"text": TEXT})
        client.post("/v1/runs/tagger/predict", content=b"{")
        client.get("/v1/runs/made-up/predict?text=secret")
        text = client.get("/metrics").text
    assert 'mmkit_requests_total{route="predict",run="tagger",status="200"} 3.0' in text
    assert 'mmkit_requests_total{route="predict",run="tagger",status="415"} 1.0' in text
    assert 'mmkit_requests_total{route="other",run="",status="404"} 1.0' in text
    assert 'mmkit_batch_size_sum{run="tagger"} 3.0' in text and "mmkit_queue_length 0.0" in text
    assert "made-up" not in text and "secret" not in text
    assert "process_resident_memory_bytes" in text


def test_a_linker_links_and_shows_its_entities(serve: Served, linker: Path) -> None:
    served = load_runs([f"wiki={linker}"], "cpu")
    model = mmkit.load(linker, device="cpu")
    text = "look at Jordan !"
    wanted = [link.to_dict() for link in model.link(text, "Jordan", top=3)]
    with serve(served) as client:
        link = client.post("/v1/runs/wiki/link", json={"text": text, "mention": "Jordan", "top": 3})
        assert link.json()["links"] == wanted
        fields = {"text": text, "mention": "Jordan", "top": "3"}
        form = client.post(
            "/v1/runs/wiki/link", files={name: (None, value) for name, value in fields.items()}
        )
        assert form.json()["links"] == wanted
        bounds = client.post("/v1/runs/wiki/predict", json={"text": text, "mention": [2, 3]})
        assert [e["entity"] for e in bounds.json()["answer"]["links"][:3]] == [e["entity"] for e in wanted]
        few = {"text": text, "mention": "Jordan", "candidates": [wanted[1]["entity"]]}
        assert [e["entity"] for e in client.post("/v1/runs/wiki/link", json=few).json()["links"]] == [
            wanted[1]["entity"]
        ]
        schema = client.get("/openapi.json").json()["paths"]["/v1/runs/wiki/link"]["post"]["requestBody"]
        record = schema["content"]["application/json"]["schema"]
        assert {"mention", "candidates", "top"} <= record["properties"].keys()
        assert record["required"] == ["text", "mention"]
        for body, code in [
            ({"text": text}, "input.no-mention"),
            ({"text": text, "mention": 3}, "serve.fields"),
            ({"text": text, "mention": [3, 2]}, "serve.fields"),
            ({"text": text, "mention": [2, 99]}, "input.span-outside"),
            ({"text": text, "mention": "Jordan", "candidates": "Q1"}, "serve.fields"),
            ({"text": text, "mention": "Jordan", "candidates": ["no such"]}, "input.unknown-entity"),
            ({"text": text, "mention": "Jordan", "top": 0}, "serve.fields"),
            ({"text": text, "mention": "Jordan", "head": "x"}, "input.not-for-task"),
        ]:
            response = client.post("/v1/runs/wiki/link", json=body)
            assert (response.status_code, response.json()["error"]["code"]) == (422, code), body
        entities = served["wiki"].predictor.model.entities
        pictured = next(e for e in entities if any(i.path for i in e.images))
        missing = client.get("/v1/runs/wiki/entity-image", params={"id": "no such"})
        assert missing.status_code == 404
        shown = client.get("/v1/runs/wiki/entity-image", params={"id": pictured.id})
        assert shown.headers["content-type"] == "image/jpeg" and shown.content[:2] == b"\xff\xd8"
