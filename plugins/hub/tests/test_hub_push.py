"""`mmkit push`: what is uploaded to whom, and what is refused before or by the Hub."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from huggingface_hub import constants

import mmkit
from hub_server import Repository, refusal
from mmkit.access.network import without_network
from mmkit.cli import main
from mmkit.runs.folder import Run
from mmkit_hub import hub as client
from mmkit_hub.push import push
from raising import raises


def command(*words: object) -> Result:
    return CliRunner().invoke(main, [*map(str, words)])


@pytest.fixture
def package(packaged: Path, tmp_path: Path) -> Path:
    """A copy of the package, to change."""
    return shutil.copytree(packaged, tmp_path / "package")


def test_what_is_pushed_loads_and_predicts_as_the_run(hub, packaged, tagger):
    done = command("push", packaged, "me/tagger")
    assert done.exit_code == 0, done.output
    repository = hub.repositories["me/tagger"]
    assert repository.private and f"hf://me/tagger@{repository.head}" in done.output
    files = repository.commits[repository.head]
    assert set(files) == {*Run(packaged).facts()["files"], "run.json", "README.md", ".gitattributes"}
    assert all(files[name] == (packaged / name).read_bytes() for name in files if name != ".gitattributes")
    answer = mmkit.load(f"hf://me/tagger@{repository.head}", device="cpu").predict("look at Jordan !")
    assert answer == mmkit.load(tagger, device="cpu").predict("look at Jordan !")


def test_a_storage_server_gets_no_token(hub, packaged):
    push(packaged, "me/tagger")
    stored = [request for request in hub.requests if request.path.startswith("/stored/")]
    assert stored and all(request.host.startswith("localhost") and not request.token for request in stored)
    assert hub.stored


def test_it_is_private_unless_public_is_said(hub, packaged):
    push(packaged, "me/one")
    push(packaged, "me/two", public=True)
    assert hub.repositories["me/one"].private and not hub.repositories["me/two"].private


def test_a_public_repository_needs_public(hub, packaged):
    hub.repositories["me/tagger"] = Repository(private=False)
    hub.repositories["me/tagger"].commit({})
    head = hub.repositories["me/tagger"].head
    done = command("push", packaged, "me/tagger")
    assert done.exit_code == 2 and "hub.is-public" in done.output and "--public" in done.output
    assert hub.repositories["me/tagger"].head == head
    assert command("push", packaged, "me/tagger", "--public").exit_code == 0


def test_a_second_push_is_a_second_commit(hub, package):
    first = push(package, "me/tagger")
    card = package / "README.md"
    card.write_text(card.read_text(encoding="utf-8").replace("TO FILL IN", "research"), encoding="utf-8")
    second = push(package, "me/tagger")
    assert first.revision != second.revision
    assert b"research" in hub.repositories["me/tagger"].commits[str(second.revision)]["README.md"]


# Refused without asking anybody


@pytest.mark.parametrize(
    "name", ["tagger", "me/", "/tagger", "me/a/b", "me/ta gger", "../tagger", "me/..", "me/x--y"]
)
def test_a_name_that_no_repository_can_have(hub, packaged, name):
    with raises("hub.repository"):
        push(packaged, name)
    assert hub.requests == []


def test_a_folder_that_is_no_package(hub, tagger, tmp_path):
    for folder in (tagger, tmp_path, tmp_path / "nowhere"):
        with raises("hub.no-package"):
            push(folder, "me/tagger")
    assert hub.requests == []


def test_a_package_with_a_changed_or_missing_file(hub, package):
    (package / "labels.json").write_text("{}", encoding="utf-8")
    with raises("run.changed-file"):
        push(package, "me/tagger")
    (package / "labels.json").unlink()
    with raises("run.missing-file"):
        push(package, "me/tagger")
    assert hub.requests == []


def test_a_link_out_of_the_package(hub, package, tmp_path):
    secret = tmp_path / "secret.md"
    shutil.move(package / "README.md", secret)
    (package / "README.md").symlink_to(secret)
    with raises("hub.incomplete", match="a link"):
        push(package, "me/tagger")
    assert hub.requests == []


def test_files_beside_the_list_are_not_uploaded_and_told(hub, package):
    (package / ".env").write_text("PASSWORD=1")
    (package / "encoders/weights.bin").write_bytes(b"\x80\x04")
    done = command("push", package, "me/tagger")
    assert done.exit_code in (0, 2) and ("not uploaded" in done.output) and ".env" in done.output
    files = hub.repositories["me/tagger"].commits[hub.repositories["me/tagger"].head]
    assert ".env" not in files and "encoders/weights.bin" not in files


def test_a_listed_pickle_is_refused(hub, package):
    facts = json.loads((package / "run.json").read_text(encoding="utf-8"))
    facts["files"]["encoders/weights.bin"] = {"bytes": 2, "sha256": "0" * 64}
    (package / "run.json").write_text(json.dumps(facts), encoding="utf-8")
    with raises("hub.not-allowed-file", match="weights.bin"):
        push(package, "me/tagger")
    assert hub.requests == []


def test_without_a_licence_it_stays_private(hub, package):
    card = package / "README.md"
    card.write_text(
        card.read_text(encoding="utf-8").replace("license: apache-2.0", "license: unknown"), "utf-8"
    )
    done = command("push", package, "me/tagger", "--public")
    assert done.exit_code == 2 and "hub.no-licence" in done.output and hub.requests == []
    done = command("push", package, "me/tagger")
    assert done.exit_code == 0 and "no licence yet" in done.output


@pytest.mark.parametrize("front", ["---\nlicense: [\n---\n", "---\n- a list\n---\n"])
def test_a_card_that_is_no_yaml(hub, package, front):
    (package / "README.md").write_text(front + "# x\n", encoding="utf-8")
    with raises("hub.card"):
        push(package, "me/tagger")
    assert hub.requests == []


def test_without_a_token(hub, packaged, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    done = command("push", packaged, "me/tagger")
    assert done.exit_code == 2 and "hub.no-token" in done.output and "HF_TOKEN" in done.output
    assert hub.requests == []


def test_the_token_is_not_sent_in_plain_text(hub, packaged, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.example.org")
    with raises("network.plain-key"):
        push(packaged, "me/tagger")


@pytest.mark.parametrize("address", ["hub.example.org", "ftp://hub.example.org", "https://"])
def test_an_endpoint_that_is_no_address(hub, packaged, monkeypatch, address):
    monkeypatch.setenv("HF_ENDPOINT", address)
    with raises("hub.endpoint"):
        push(packaged, "me/tagger")


def test_offline_and_for_a_loaded_run_nobody_is_contacted(hub, packaged, monkeypatch):
    with without_network("somebody's run"), raises("network.not-allowed"):
        push(packaged, "me/tagger")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with raises("hub.offline"):
        push(packaged, "me/tagger")
    assert hub.requests == []


# Refused by the Hub


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, "hub.token"), (403, "hub.forbidden"), (409, "hub.conflict"), (413, "hub.too-large"),
        (429, "hub.too-many-requests"), (404, "hub.not-found"), (400, "hub.refused"),
    ],
)  # fmt: skip
def test_the_hubs_refusals_are_one_message(hub, packaged, status, code):
    def refuse(request):
        return refusal(status, "", "no, really") if "/commit/" in request.path else None

    hub.before = refuse
    done = command("push", packaged, "me/tagger")
    assert done.exit_code == 2 and code in done.output and client.DEFAULT not in done.output
    assert "Traceback" not in done.output and "hf_secret" not in done.output


def test_a_wrong_token_is_refused(hub, packaged, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with raises("hub.token"):
        push(packaged, "me/tagger")


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"<html>", b'{"commitOid": 7, "commitUrl": "x"}'])
def test_a_server_that_is_no_hub(hub, packaged, body):
    hub.before = lambda request: (200, {}, body) if "/commit/" in request.path else None
    with raises("hub.wrong-answer"):
        push(packaged, "me/tagger")


def test_nobody_there(hub, packaged, monkeypatch):
    hub.close()
    with raises("hub.unreachable"):
        push(packaged, "me/tagger")


def test_a_server_that_never_answers_is_given_up(hub, packaged, monkeypatch):
    def wait(request):
        hub.released.wait(60)
        return refusal(500, "", "")

    hub.before = wait
    monkeypatch.setattr(client, "PATIENCE", 0.3)
    with raises("hub.timeout"):
        push(packaged, "me/tagger")
