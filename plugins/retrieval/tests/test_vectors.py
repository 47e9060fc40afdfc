"""Vectors on disk: what is put is there, what is replaced is gone, a kill at any line loses nothing committed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmkit_retrieval.pictures import vectors
from mmkit_retrieval.pictures.vectors import DATABASE, Model, VectorStore, check_vectors, mapped
from raising import raises

WIDTH = 4
MODEL = Model("tiny", None, (0.5,) * WIDTH)


def put(store: VectorStore, article: str, values: list[int]) -> None:
    """An article whose images have the vectors [value, value, ...]."""
    store.model = MODEL
    store.remove([article])
    store.add_article(article, f"title {article}", "lead")
    pictures = [(article, n, f"content {value}", f"{value}.png", "") for n, value in enumerate(values)]
    if pictures:
        store.add(pictures, np.array([[value] * WIDTH for value in values], np.float16))


def held(folder: Path) -> dict[str, list[float]]:
    """Article → its images' values, as a new process sees them."""
    with VectorStore(folder) as store:
        vectors = mapped(folder, store.state)
        found: dict[str, list[float]] = {}
        for article, row in store.rows("SELECT article, row FROM pictures ORDER BY article, number"):
            assert len(set(vectors[row])) == 1
            found.setdefault(article, []).append(float(vectors[row][0]))
        return found


def test_what_is_committed_is_there_and_the_rest_is_not(tmp_path: Path) -> None:
    with VectorStore(tmp_path) as store:
        put(store, "a", [1, 2])
        put(store, "b", [3])
        store.commit()
        put(store, "c", [4])
        assert (len(store), store.committed) == (4, 3)
    assert held(tmp_path) == {"a": [1, 2], "b": [3]}
    with VectorStore(tmp_path) as store:
        put(store, "c", [5])
        store.commit()
    assert held(tmp_path) == {"a": [1, 2], "b": [3], "c": [5]}


def test_putting_again_replaces(tmp_path: Path) -> None:
    with VectorStore(tmp_path) as store:
        put(store, "a", [1, 2])
        put(store, "b", [3])
        store.commit()
        put(store, "a", [7])
        store.remove(["b", "never there"])
        store.commit()
        assert store.state.rows == 4, "vectors stay until they are compacted"
        store.compact()
        assert (len(store), store.state.rows) == (1, 1)
    assert held(tmp_path) == {"a": [7]}
    assert len([*tmp_path.glob("vectors-*")]) == 1


def test_pictures_of_equal_content_are_found_before_and_after_a_commit(tmp_path: Path) -> None:
    with VectorStore(tmp_path) as store:
        assert store.vector_of("content 9") is None
        put(store, "a", [1, 9])
        for _ in range(2):
            vector = store.vector_of("content 9")
            assert vector is not None and vector.tolist() == [9] * WIDTH
            store.commit()
        assert store.vector_of("content 2") is None


def test_text_that_utf8_has_no_form_for_is_kept(tmp_path: Path) -> None:
    with VectorStore(tmp_path) as store:
        put(store, "\ud800", [1])
        put(store, "\ud800", [2])
        store.commit()
    assert held(tmp_path) == {"\\ud800": [2]}


def test_one_process_writes_at_a_time(tmp_path: Path) -> None:
    with VectorStore(tmp_path), raises("retrieval.locked"):
        VectorStore(tmp_path)
    VectorStore(tmp_path).close()


@pytest.mark.parametrize("how", ["short", "altered", "missing"])
def test_damaged_vectors_are_refused(tmp_path: Path, how: str) -> None:
    with VectorStore(tmp_path) as store:
        put(store, "a", [1, 2, 3])
        store.commit()
        path = store.state.path(tmp_path)
        check_vectors(tmp_path, store.state)
    data = path.read_bytes()
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes(data[:-1] if how == "short" else data[:-1] + b"\xff")
    with raises("retrieval.index-damaged"):
        VectorStore(tmp_path)


def test_a_damaged_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / DATABASE).write_bytes(b"no database " * 1000)
    with raises("retrieval.index-damaged") as caught:
        VectorStore(tmp_path)
    assert "delete the whole index folder" in caught.value.hint


def test_a_database_of_a_newer_format_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "FORMAT", 2)
    VectorStore(tmp_path).close()
    monkeypatch.setattr(vectors, "FORMAT", 1)
    with raises("retrieval.index-format", match=" 2.* 1"):
        VectorStore(tmp_path)


STEPS = st.one_of(
    st.tuples(st.just("put"), st.sampled_from("abc"), st.lists(st.integers(0, 9), max_size=3)),
    st.tuples(st.just("remove"), st.sampled_from("abc"), st.just([])),
    st.tuples(st.sampled_from(["commit", "compact", "reopen"]), st.just(""), st.just([])),
)


@settings(max_examples=40, deadline=None)
@given(steps=st.lists(STEPS, max_size=15))
def test_any_sequence_of_steps_is_what_a_dictionary_would_do(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, list[int]]]
) -> None:
    folder = tmp_path_factory.mktemp("store")
    now: dict[str, list[int]] = {}
    committed: dict[str, list[int]] = {}
    store = VectorStore(folder)
    for step, article, values in steps:
        if step == "put":
            put(store, article, values)
            now[article] = values
        elif step == "remove":
            store.remove([article])
            now.pop(article, None)
        elif step == "reopen":
            store.close()
            store, now = VectorStore(folder), dict(committed)
        else:
            store.commit() if step == "commit" else store.compact()
            committed = dict(now)
    store.close()
    assert held(folder) == {article: values for article, values in committed.items() if values}


# Killed at every line: a forked child runs the work until its nth line, and the next one goes on.

KILLED = """
import json, os, sys, shutil
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import test_vectors as t
from mmkit_retrieval.pictures import vectors

folder, every = Path(sys.argv[2]), int(sys.argv[3])

def work(folder):
    with vectors.VectorStore(folder) as store:
        for article in "abc":
            t.put(store, article, t.GOAL[article])
            store.commit()
        store.compact()

def killed(folder, line):
    count = 0
    def trace(frame, event, _):
        nonlocal count
        if frame.f_code.co_filename != vectors.__file__:
            return None
        count += event == "line"
        if count >= line:
            os._exit(9)
        return trace
    sys.settrace(trace)
    work(folder)
    sys.settrace(None)

def in_a_child(function, *arguments):
    child = os.fork()
    if not child:
        function(*arguments)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

states, line = [], 1
while True:
    shutil.rmtree(folder, ignore_errors=True)
    with vectors.VectorStore(folder) as store:
        t.put(store, "a", [5, 6, 7])
        t.put(store, "z", [8])
        store.commit()
    died = in_a_child(killed, folder, line) == 9
    after = t.held(folder)
    assert in_a_child(work, folder) == 0
    states.append([line, after, t.held(folder), len([*folder.glob("vectors-*")])])
    if not died:
        break
    line += every
print(json.dumps(states))
"""

BEFORE = {"a": [5, 6, 7], "z": [8]}
GOAL = {"a": [1, 2], "b": [3], "c": [4, 5, 6]}


def test_a_kill_at_any_line_loses_only_what_was_not_committed(tmp_path: Path) -> None:
    here = str(Path(__file__).parent)
    command = [sys.executable, "-c", KILLED, here, str(tmp_path / "store"), "11"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    states = json.loads(done.stdout)
    assert len(states) > 20
    commits = [BEFORE]
    for article, values in GOAL.items():
        commits.append({**commits[-1], article: values})
    seen = [commits.index(after) for _, after, _, _ in states]
    assert seen == sorted(seen), "a later kill loses no more than an earlier one"
    assert set(seen) == set(range(len(commits)))
    assert all(final == commits[-1] and files == 1 for _, _, final, files in states)
