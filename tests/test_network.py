"""A loaded run contacts nobody: annotators, the Hugging Face Hub, and parts that forget to ask."""

from __future__ import annotations

import dataclasses
import json
import socket
import threading
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from huggingface_hub import constants

import mmkit
from mmkit import registry
from mmkit.access.network import check_network, network_allowed, network_hint, without_network
from mmkit.annotators.base import Annotator
from mmkit.annotators.run import annotate
from mmkit.cli import main
from mmkit.data.types import Entity, Example, Image, Mention
from mmkit.errors import MMKitError, PartError
from mmkit.inference.evaluate import evaluate
from mmkit.loading.sample import sampled
from mmkit.recipe import load_recipe
from mmkit.runs.folder import Run
from mmkit.testing import registered_parts
from mmkit.training.train import train
from raising import raises


class Listener:
    """A server that notes who connects, and says nothing."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.contacts: list[bytes] = []
        self.heard = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(1)
                try:
                    self.contacts.append(connection.recv(1000))
                except OSError:
                    self.contacts.append(b"")
                self.heard.set()
                answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi"
                connection.sendall(answer)


@pytest.fixture
def listener() -> Iterator[Listener]:
    listening = Listener()
    yield listening
    listening.socket.close()


@pytest.fixture
def online(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> Listener:
    """A machine whose Hub is the listener, and that nothing keeps from it."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", listener.url)
    return listener


# What may be done


def test_only_what_is_done_for_a_run_is_refused() -> None:
    assert network_allowed()
    check_network("https://example.org")
    assert network_hint() == ""
    with without_network("runs/theirs"):
        assert not network_allowed()
        assert "--allow-network" in network_hint()
        with raises("network.not-allowed", match="https://example.org") as caught:
            check_network("https://example.org")
        assert caught.value.where == "runs/theirs"
        assert "--allow-network" in caught.value.hint
        with without_network("runs/inner", allow=True):
            assert not network_allowed(), "a run within another one doesn't lift what holds for that"
    assert network_allowed()
    with without_network("runs/mine", allow=True):
        assert network_allowed()


def test_sockets_of_a_part_that_forgot_to_ask_connect_to_nothing(listener: Listener) -> None:
    assert urllib.request.urlopen(listener.url, timeout=5).read() == b"hi"
    listener.contacts.clear()
    with without_network("runs/theirs"):
        with raises("network.not-allowed", match=str(listener.port)):
            urllib.request.urlopen(listener.url, timeout=5)
        with raises("network.not-allowed", match=r"metadata\.example"):
            socket.getaddrinfo("metadata.example", 80)
        with socket.socket(type=socket.SOCK_DGRAM) as datagrams, raises("network.not-allowed"):
            datagrams.sendto(b"x", ("127.0.0.1", listener.port))
        near, far = socket.socketpair()
        near.sendall(b"within the process")
        assert far.recv(100) == b"within the process"
        near.close()
        far.close()
    assert listener.contacts == []
    assert urllib.request.urlopen(listener.url, timeout=5).read() == b"hi"


def test_other_threads_go_on(listener: Listener) -> None:
    found: list[bytes] = []
    with without_network("runs/theirs"):
        thread = threading.Thread(
            target=lambda: found.append(urllib.request.urlopen(listener.url, timeout=5).read())
        )
        thread.start()
        thread.join()
    assert found == [b"hi"]


def test_the_hub_is_offline_for_a_run_alone(online: Listener) -> None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    with without_network("runs/theirs"), without_network("runs/theirs/encoders/expert"):
        with pytest.raises(LocalEntryNotFoundError):
            hf_hub_download("nobody/nothing", "config.json")
        assert online.contacts == []
    assert constants.HF_HUB_OFFLINE is False


# Annotators

PHOTO = "photo.png"
NOBODY = "nobody/no-such-model"
CONTACTS: dict[str, dict[str, Any]] = {
    "dim.blip2_captions.v1": {"name": NOBODY},
    "dim.entity_descriptions.v1": {"model": "m", "base_url": "URL/v1", "retries": 0, "timeout": 2.0},
    "dwe.parts.v1": {"name": NOBODY},
    "dwe.profiles.v1": {"classifiers": {"gender": NOBODY}},
    "gmner.proposals.v1": {"model": NOBODY},
    "hvpnet.grounded_objects.v1": {"model": NOBODY, "tagger": NOBODY},
    "more.image_retrieval.v1": {"index": "wiki", "engine": "milvus", "url": "URL"},
    "more.text_retrieval.v1": {"index": "wiki", "engine": "opensearch", "url": "URL", "timeout": 2.0},
    "pgim.captions.v1": {"name": NOBODY},
    "pgim.knowledge.v1": {"model": "m", "base_url": "URL/v1", "retries": 0, "timeout": 2.0},
    "pgim.similar.v1": {"pool": "HERE/pool.txt", "posts": "HERE/posts.txt", "images": None, "clip": NOBODY},
    "retrieval.pictures.v1": {"index": "wiki", "engine": "milvus", "url": "URL"},
    "retrieval.text.v1": {"index": "wiki", "engine": "elasticsearch", "url": "URL", "timeout": 2.0},
}
"""Annotator → settings with which it would contact the server at URL, or the Hub; HERE is a folder with `FILES`."""
FILES = {"pool.txt": "7\nan answer\n", "posts.txt": "IMGID:7\nanother\tO\n\n"}
LOCAL = {"dwe.published_parts.v1", "mmkit.name_candidates.v1"}
"""Annotators that know no server and no model."""


def test_of_every_annotator_it_is_known_whom_it_would_contact() -> None:
    """A new annotator goes into one of the two lists, and is tested below."""
    assert set(registry.annotators.names()) == (CONTACTS.keys() | LOCAL) & set(registry.annotators.names())


def records(annotator: Annotator, folder: Path) -> Sequence[Any]:
    from PIL import Image as Pillow

    path = folder / PHOTO
    Pillow.new("RGB", (32, 32), (200, 10, 10)).save(path)
    if annotator.over == "entities":
        return [Entity("Q1", "Jordan")]
    images = (Image(str(path)), Image(str(path), role="object"))
    return [Example.from_tokens("1", ["Jordan", "river"], images=images, mention=Mention("Jordan"))]


@pytest.mark.parametrize("name", sorted(CONTACTS))
def test_an_annotator_of_a_loaded_run_contacts_nobody(
    name: str, online: Listener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name not in registry.annotators.names():
        pytest.skip("its plugin is not installed")
    monkeypatch.setenv("MMKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("OPENAI_BASE_URL", online.url)
    settings = {
        key: value.replace("URL", online.url).replace("HERE", str(tmp_path))
        if isinstance(value, str)
        else value
        for key, value in CONTACTS[name].items()
    }
    for file, text in FILES.items():
        (tmp_path / file).write_text(text, encoding="utf-8")
    annotator = registry.build_part("annotators", name, settings)
    with without_network("runs/theirs"), pytest.raises(MMKitError) as refused:
        annotate(annotator, records(annotator, tmp_path))
    assert refused.value.code in ("network.not-allowed", "part.model-unloadable", "encoder.unloadable")
    assert "--allow-network" in refused.value.hint
    assert online.contacts == []


# Runs


class CallsHome(Annotator):
    """Sends each sentence to a server, without asking."""

    def __init__(self, url: str, log: str | None = None) -> None:
        self.url = url

    def fingerprint(self) -> str:
        return f"calls {self.url}"

    def key(self, x: Example) -> str:
        return x.text

    def annotate(self, batch: Sequence[Any]) -> list[Any]:
        return [urllib.request.urlopen(f"{self.url}/{len(x.text)}", timeout=5).read().decode() for x in batch]

    def apply(self, x: Any, result: Any) -> Any:
        return dataclasses.replace(x, notes={"answer": result})


@pytest.fixture(scope="module")
def trained(sample_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "trained"
    train(load_recipe(sample_recipe, {"training.epochs": 1}), folder, device="cpu")
    return folder


def rewrite(run: Path, recipe: str) -> None:
    """Give a run another recipe, as whoever made the run could."""
    (run / "recipe.cfg").write_text(recipe)
    facts = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({name: fact for name, fact in facts.items() if name != "files"}))


@pytest.fixture
def theirs(
    trained: Path, tmp_path: Path, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """A run whose recipe has an annotator that calls home."""
    import shutil

    monkeypatch.setenv("MMKIT_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "theirs"
    shutil.copytree(trained, folder)
    section = f'[annotators.home]\n@annotators = "t.calls.v1"\nurl = "{listener.url}"\n'
    rewrite(folder, f"{(folder / 'recipe.cfg').read_text()}\n{section}")
    with registered_parts(annotators={"t.calls.v1": CallsHome}):
        yield folder


def test_prediction_contacts_nobody_unless_told_to(theirs: Path, listener: Listener) -> None:
    model = mmkit.load(theirs, device="cpu")
    with raises("network.not-allowed", match=str(listener.port)):
        model.predict("look at Jordan")
    assert listener.contacts == []
    assert network_allowed(), "after an error, too"
    mmkit.load(theirs, device="cpu", allow_network=True).predict("look at Jordan")
    assert [contact.split()[1] for contact in listener.contacts] == [b"/14"]
    # What is stored is not asked for again, and so needs no network.
    model.predict("look at Jordan")
    assert len(listener.contacts) == 1


def test_a_stream_lifts_nothing_and_holds_nothing_up(theirs: Path, listener: Listener) -> None:
    model = mmkit.load(theirs, device="cpu", allow_network=True)
    examples = [model.example("look at Jordan"), model.example("Paris again")]
    for _ in model.stream(examples):
        assert network_allowed()
    model.allow_network = False
    with raises("network.not-allowed"):
        model.predict_batch([model.example("another sentence")])


def test_evaluation_and_commands_contact_nobody_unless_told_to(theirs: Path, listener: Listener) -> None:
    with raises("network.not-allowed"):
        evaluate(theirs, "dev", device="cpu")
    commands = (["predict", str(theirs), "--text", "look"], ["evaluate", str(theirs), "--split", "dev"])
    for command in (*commands, ["annotate", str(theirs / "recipe.cfg")]):
        done = CliRunner().invoke(main, [*command, "--device", "cpu"])
        assert done.exit_code == 2, done.output
        assert "[network.not-allowed]" in done.stderr
        assert "--allow-network" in done.stderr
    assert listener.contacts == []
    done = CliRunner().invoke(main, [*commands[0], "--device", "cpu", "--allow-network"])
    assert done.exit_code == 0, done.output
    assert len(listener.contacts) == 1


def test_ones_own_recipe_needs_no_flag(theirs: Path, listener: Listener) -> None:
    own = theirs.parent / "mine.cfg"
    own.write_text((theirs / "recipe.cfg").read_text())
    done = CliRunner().invoke(main, ["annotate", str(own), "--device", "cpu"])
    assert done.exit_code == 0, done.output
    assert listener.contacts


def test_backbones_of_a_run_come_from_the_cache_alone(theirs: Path, online: Listener) -> None:
    recipe = theirs / "recipe.cfg"
    text = recipe.read_text().replace("save_frozen = true", "save_frozen = false")
    local = json.dumps(load_recipe(recipe).config["model"]["encoders"]["vision"]["name"])
    assert local in text
    rewrite(theirs, text.replace(local, json.dumps("resnet18.a1_in1k")))
    with pytest.raises(PartError, match=r"resnet18\.a1_in1k") as refused:
        mmkit.load(theirs, device="cpu")
    assert "--allow-network" in refused.value.hint
    assert online.contacts == []


# What a run writes


def test_a_run_writes_nothing_beside_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = sampled(load_recipe("text_only_richpedia")).with_overrides({"training.epochs": 1})
    monkeypatch.setenv("MMKIT_CACHE", str(tmp_path / "cache"))
    train(recipe, tmp_path / "theirs", device="cpu")
    precious = tmp_path / "precious.json"
    precious.write_text("mine")
    filled = tmp_path / "theirs" / "recipe.cfg"
    section = '[annotators.listed]\n@annotators = "mmkit.name_candidates.v1"\nreplace = true'
    rewrite(filled.parent, f"{filled.read_text()}\n{section}\noutput = {json.dumps(str(precious))}\n")
    evaluate(tmp_path / "theirs", "dev", device="cpu")
    evaluate(tmp_path / "theirs", "dev", device="cpu", output=tmp_path / "scores", allow_network=True)
    assert precious.read_text() == "mine"
    done = CliRunner().invoke(main, ["annotate", str(filled), "--device", "cpu"])
    assert done.exit_code == 0, done.output
    assert "output: warning: not written" in done.stderr
    assert precious.read_text() == "mine"


@pytest.mark.parametrize("link", ["predictions", "evaluations", "predictions/dev.jsonl"])
def test_a_link_that_leads_out_of_a_run_is_not_written_through(
    trained: Path, tmp_path: Path, link: str
) -> None:
    import shutil

    folder = tmp_path / "theirs"
    shutil.copytree(trained, folder)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.rmtree(folder / "predictions", ignore_errors=True)
    shutil.rmtree(folder / "evaluations", ignore_errors=True)
    (folder / link).parent.mkdir(exist_ok=True)
    (folder / link).symlink_to(elsewhere if "." not in link else elsewhere / "file")
    with raises("run.leads-out", match=str(elsewhere)):
        evaluate(folder, "dev", device="cpu")
    assert list(elsewhere.iterdir()) == []
    figures, _ = evaluate(folder, "dev", device="cpu", output=tmp_path / "scores")
    assert figures
    assert Run(tmp_path / "scores").predictions_file("dev").is_file()
