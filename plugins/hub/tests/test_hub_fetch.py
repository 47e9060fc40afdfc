"""`hf://user/name@revision`: what is fetched, from whom, and how a wrong server is found out."""

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
from mmkit_hub.address import Address
from mmkit_hub.fetch import fetch
from raising import raises

TEXT = "look at Jordan in Chicago !"


def command(*words: object) -> Result:
    return CliRunner().invoke(main, [*map(str, words)])


def fetched(address: str) -> tuple[Path, list[str]]:
    told: list[str] = []
    return fetch(address, told.append), told


def changed(hub, name: str, content: bytes) -> str:
    """Change a file of the package on the Hub; the new commit."""
    return hub.repositories["me/tagger"].commit({name: content})


# What works


def test_it_predicts_as_the_run(hub, shared_run, tagger):
    answer = mmkit.load(f"hf://me/tagger@{shared_run}", device="cpu").predict(TEXT)
    assert answer == mmkit.load(tagger, device="cpu").predict(TEXT)


def test_commands_take_it(hub, shared_run, tmp_path):
    done = command("predict", f"hf://me/tagger@{shared_run}", "--text", TEXT, "--device", "cpu", "--json")
    assert done.exit_code == 0, done.output
    refused = command("evaluate", f"hf://me/tagger@{shared_run}", "--quiet")
    assert refused.exit_code == 2 and "run.no-output" in refused.output


def test_it_can_be_packaged_again(hub, shared_run, packaged, tmp_path):
    done = command("package", f"hf://me/tagger@{shared_run}", tmp_path / "again")
    assert done.exit_code == 0, done.output
    assert Run(tmp_path / "again").facts()["files"] == Run(packaged).facts()["files"]


@pytest.mark.parametrize("words", [["errors"], ["report"], ["compare", "hf://me/tagger"]])
def test_commands_on_predictions_say_that_it_has_none(hub, shared_run, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = command(*words, f"hf://me/tagger@{shared_run}")
    assert said.exit_code == 2 and "run.no-predictions" in said.output and str(tmp_path) not in said.output
    assert list(tmp_path.glob("*.html")) == []


def test_only_the_listed_files_are_fetched(hub, packaged):
    names = {
        path.relative_to(packaged).as_posix(): path.read_bytes()
        for path in packaged.rglob("*")
        if path.is_file()
    }
    more = {"model.py": b"print()", "pytorch_model.bin": b"\x80\x04", "encoders/text/model.pt": b"\x80\x04"}
    hub.repositories["me/tagger"] = Repository(private=False)
    commit = hub.repositories["me/tagger"].commit({**names, **more})
    folder, _ = fetched(f"hf://me/tagger@{commit}")
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert there == {*Run(packaged).facts()["files"], "run.json"}
    assert not any(name in path for path in hub.paths("GET") for name in more)


def test_a_branch_is_told_as_its_commit(hub, shared_run):
    for address in ("hf://me/tagger", "hf://me/tagger@main"):
        folder, told = fetched(address)
        assert folder.name == shared_run
        assert len(told) == 1 and f"hf://me/tagger@{shared_run}" in told[0]
    assert fetched(f"hf://me/tagger@{shared_run}") == (folder, [])


def test_a_branch_moves_and_a_commit_does_not(hub, shared_run):
    first, _ = fetched("hf://me/tagger@main")
    new = changed(hub, "README.md", b"new")
    second, _ = fetched("hf://me/tagger@main")
    assert (first.name, second.name) == (shared_run, new)
    assert fetched(f"hf://me/tagger@{shared_run}")[0] == first


def test_a_whole_commit_needs_no_network_the_second_time(hub, shared_run, monkeypatch):
    folder, _ = fetched(f"hf://me/tagger@{shared_run}")
    hub.requests.clear()
    assert fetched(f"hf://me/tagger@{shared_run}")[0] == folder and hub.requests == []
    hub.close()
    assert mmkit.load(f"hf://me/tagger@{shared_run}", device="cpu").predict(TEXT).text


def test_offline_works_from_the_cache(hub, shared_run, monkeypatch):
    with monkeypatch.context() as offline:
        offline.setattr(constants, "HF_HUB_OFFLINE", True)
        with raises("hub.offline"):
            fetched("hf://me/tagger@main")
    folder, _ = fetched("hf://me/tagger@main")
    hub.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    again, told = fetched("hf://me/tagger@main")
    assert again == folder and shared_run in told[0] and hub.requests == []


def test_a_hub_that_is_down_leaves_the_cache_and_says_so(hub, shared_run):
    folder, _ = fetched("hf://me/tagger@main")
    hub.before = lambda request: refusal(503, "", "down")
    again, told = fetched("hf://me/tagger@main")
    assert again == folder and "used from the cache" in told[0]


def test_what_was_half_fetched_is_completed(hub, shared_run):
    folder, _ = fetched(f"hf://me/tagger@{shared_run}")
    (folder / "labels.json").unlink()
    hub.requests.clear()
    fetched(f"hf://me/tagger@{shared_run}")
    assert (folder / "labels.json").is_file()
    assert {path.rpartition("/")[2] for path in hub.paths("HEAD")} == {"labels.json"}


def test_a_private_run_needs_the_token(hub, shared_run, monkeypatch):
    hub.repositories["me/tagger"].private = True
    monkeypatch.delenv("HF_TOKEN")
    with raises("hub.not-found"):
        fetched(f"hf://me/tagger@{shared_run}")
    monkeypatch.setenv("HF_TOKEN", hub.known_token)
    fetched(f"hf://me/tagger@{shared_run}")


def test_a_server_that_the_hub_names_gets_no_token(hub, shared_run):
    fetched(f"hf://me/tagger@{shared_run}")
    elsewhere = [request for request in hub.requests if request.host.startswith("localhost")]
    assert {request.path.split("/")[1] for request in elsewhere} == {"stored"}
    assert not any(request.token for request in elsewhere)
    assert any(request.token for request in hub.requests)


def test_a_redirect_of_the_question_gets_no_token(hub, shared_run):
    def elsewhere(request):
        if request.path.endswith("labels.json") and request.host.startswith("127"):
            return (
                302,
                {"Location": hub.other_address + request.path, "X-Repo-Commit": shared_run, "ETag": '"abc"'},
                b"",
            )
        return None

    hub.before = elsewhere
    with raises("hub.wrong-answer"):  # it says no size
        fetched(f"hf://me/tagger@{shared_run}")
    assert not any(request.token for request in hub.requests if request.host.startswith("localhost"))


def test_a_loaded_run_cannot_make_it_contact_the_hub(hub, shared_run):
    with without_network("somebody's run"), pytest.raises(mmkit.MMKitError):
        fetch(f"hf://me/tagger@{shared_run}", lambda message: None)
    assert hub.requests == []


# Addresses


@pytest.mark.parametrize(
    "address",
    [
        "hf://", "hf://me", "hf://me/", "hf://me/tagger/more", "hf://me/tagger@", "hf://me/tagger@a b",
        "hf://me/tagger@../x", "hf://../tagger", "hf://me/..", "hf://me/tagger@a//b", "hf://m e/tagger",
        "hf://me/tagger@-x", "hf://me/x--y", "hf://" + "m" * 100 + "/tagger", "hf://me/tagger.git", "hf://me/\u202e",
    ],
)  # fmt: skip
def test_a_malformed_address_is_one_message(hub, address):
    with raises("hub.address", match="hf://user/name@main"):
        fetched(address)
    assert hub.requests == []


def test_an_address_reads_as_it_was_written():
    for text in (
        "hf://me/tagger",
        "hf://me/tagger@v1.0",
        "hf://me/tagger@feature/x",
        "hf://me/tagger@" + "0a" * 20,
    ):
        assert str(Address.of(text)) == text
    assert (
        Address.of("hf://me/tagger@" + "0a" * 20).is_pinned
        and not Address.of("hf://me/tagger@0a0a").is_pinned
    )


# What is not there, or no package


@pytest.mark.parametrize(
    ("address", "code"),
    [("hf://me/nothing", "hub.not-found"), ("hf://me/tagger@v9", "hub.no-revision")],
)
def test_what_is_not_there(hub, shared_run, address, code):
    done = command("predict", address, "--text", "x")
    assert done.exit_code == 2 and code in done.output


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (None, "hub.no-package"),
        (b"{}", "hub.no-package"),
        (b"[]", "run.damaged"),
        (b"{", "run.damaged"),
        (b'{"package": {"format": 99}, "files": {}}', "hub.newer-format"),
        (b'{"package": {"format": 1}, "files": {}}', "hub.incomplete"),
    ],
)
def test_a_repository_of_something_else(hub, shared_run, content, code):
    repository = hub.repositories["me/tagger"]
    if content is None:
        del repository.commits[shared_run]["run.json"]
    else:
        repository.commits[shared_run]["run.json"] = content
    with raises(code):
        fetched(f"hf://me/tagger@{shared_run}")


@pytest.mark.parametrize(
    "name",
    ["../../evil.json", "/etc/evil.json", "encoders/../../evil.json", "model.bin", "encoders/x.py", "encoders/x.pkl",
     "encoders/.hidden.json", "a\\b.json"],
)  # fmt: skip
def test_a_list_with_a_wrong_name_fetches_nothing(hub, shared_run, name):
    files = hub.repositories["me/tagger"].commits[shared_run]
    facts = json.loads(files["run.json"])
    facts["files"][name] = {"bytes": 2, "sha256": "0" * 64}
    files["run.json"] = json.dumps(facts).encode()
    with raises("hub.not-allowed-file"):
        fetched(f"hf://me/tagger@{shared_run}")
    assert {path.rpartition("/")[2] for path in hub.paths("GET")} == {"run.json"}


def test_a_list_of_files_larger_than_the_disk_fetches_nothing(hub, shared_run):
    files = hub.repositories["me/tagger"].commits[shared_run]
    facts = json.loads(files["run.json"])
    facts["files"]["model.safetensors"]["bytes"] = 10**18
    files["run.json"] = json.dumps(facts).encode()
    with raises("hub.no-space", match=r"1,000,000,000\.\d GB"):
        fetched(f"hf://me/tagger@{shared_run}")
    assert {path.rpartition("/")[2] for path in hub.paths("GET")} == {"run.json"}


# Servers that lie


def test_other_contents_are_refused_and_not_kept(hub, shared_run):
    files = hub.repositories["me/tagger"].commits[shared_run]
    right = files["labels.json"]
    files["labels.json"] = right[:-2] + b" \n"
    with raises("hub.wrong-file", match="labels.json"):
        fetched(f"hf://me/tagger@{shared_run}")
    files["labels.json"] = right
    folder, _ = fetched(f"hf://me/tagger@{shared_run}")
    Run(folder).check()


def test_a_link_in_the_repository_is_another_file(hub, shared_run):
    hub.repositories["me/tagger"].commits[shared_run]["labels.json"] = b"../../../etc/passwd"
    with raises("hub.wrong-file"):
        fetched(f"hf://me/tagger@{shared_run}")


def test_a_file_that_is_larger_than_listed_is_not_fetched(hub, shared_run):
    hub.before = lambda request: (
        (200, {"X-Repo-Commit": shared_run, "ETag": '"abc"', "Content-Length": "9000000000000"}, b"")
        if request.path.endswith("labels.json")
        else None
    )
    with raises("hub.wrong-file", match="9,000,000,000,000"):
        fetched(f"hf://me/tagger@{shared_run}")
    assert not any(path.endswith("labels.json") for path in hub.paths("GET"))


def test_a_huge_list_is_not_fetched(hub, shared_run):
    hub.before = lambda request: (
        (200, {"X-Repo-Commit": shared_run, "ETag": '"abc"', "Content-Length": "9000000000"}, b"")
        if request.path.endswith("run.json")
        else None
    )
    with raises("hub.wrong-answer", match=r"run\.json"):
        fetched(f"hf://me/tagger@{shared_run}")
    assert hub.paths("GET") == []


def lying(hub, commit: str, said: int, sent: bytes) -> None:
    """Let the Hub tell the right size of labels.json, then send something else with another length."""

    def before(request):
        if request.path.endswith("labels.json") and request.method == "GET":
            return 200, {"X-Repo-Commit": commit, "Content-Length": str(said)}, sent
        return None

    hub.before = before


def test_more_bytes_than_were_said_are_not_taken(hub, shared_run):
    lying(hub, shared_run, 30_000_000, b"x" * 30_000_000)
    with raises("hub.wrong-answer", match="more of"):
        fetched(f"hf://me/tagger@{shared_run}")
    cache = Path(constants.HF_HUB_CACHE)
    assert sum(path.stat().st_size for path in cache.rglob("*.incomplete")) == 0


def test_fewer_bytes_than_were_said_end_in_time(hub, shared_run, monkeypatch):
    right = len(hub.repositories["me/tagger"].commits[shared_run]["labels.json"])
    lying(hub, shared_run, right, b"{}")  # and the connection ends: the client tries again
    monkeypatch.setattr(client, "PATIENCE", 0.5)
    with raises("hub.timeout"):
        fetched(f"hf://me/tagger@{shared_run}")
    hub.before = lambda request: None


def test_a_server_that_never_answers_is_given_up(hub, shared_run, monkeypatch):
    def wait(request):
        hub.released.wait(60)
        return refusal(500, "", "")

    hub.before = wait
    monkeypatch.setattr(client, "PATIENCE", 0.3)
    with raises("hub.timeout"):
        fetched(f"hf://me/tagger@{shared_run}")


@pytest.mark.parametrize(
    "headers",
    [
        {"ETag": '"../../../evil"'},
        {"ETag": '""'},
        {"X-Repo-Commit": "../../evil"},
        {"X-Repo-Commit": "0" * 40},
        {},
    ],
)
def test_headers_that_no_hub_gives(hub, shared_run, tmp_path, headers):
    usual = {"X-Repo-Commit": shared_run, "ETag": '"abc"'} if headers else {}
    hub.before = lambda request: (200, {**usual, **headers}, b"{}") if "/resolve/" in request.path else None
    before = sorted(path.name for path in tmp_path.iterdir())
    with raises("hub.wrong-answer"):
        fetched(f"hf://me/tagger@{shared_run}")
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "hub-cache") == before


def test_a_page_that_is_no_hub(hub, shared_run):
    hub.before = lambda request: (200, {"Content-Type": "text/html"}, b"<html>welcome to our network</html>")
    done = command("predict", "hf://me/tagger", "--text", "x")
    assert done.exit_code == 2 and "hub.wrong-answer" in done.output


def test_nobody_there(hub, shared_run):
    hub.close()
    with raises("hub.unreachable"):
        fetched(f"hf://me/tagger@{shared_run}")


def test_a_damaged_file_in_the_cache_is_found_when_it_is_loaded(hub, shared_run):
    folder, _ = fetched(f"hf://me/tagger@{shared_run}")
    weights = (folder / "model.safetensors").resolve()
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with raises("run.changed-file"):
        mmkit.load(f"hf://me/tagger@{shared_run}", device="cpu")
    shutil.rmtree(constants.HF_HUB_CACHE)
