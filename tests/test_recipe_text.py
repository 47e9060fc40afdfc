"""The syntax of recipes: comments, parents, references, overrides on a command line, and writing."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmkit.config import text as text_module
from mmkit.config.references import resolve
from mmkit.config.text import literal, parse, parse_overrides, read, write
from mmkit.config.values import Problems
from mmkit.errors import RecipeError
from raising import raises
from timing import in_time

PATH = Path("x.cfg")


def tree_of(text: str) -> dict[str, Any]:
    problems = Problems()
    tree = resolve(parse(text, PATH).tree, problems)
    assert not problems.found
    return tree


def problems_of(text: str) -> list[str]:
    problems = Problems()
    resolve(parse(text, PATH).tree, problems)
    return [f"{p.path}: {p}" for p in problems.found]


def test_values_are_json_and_text_needs_no_quotes() -> None:
    tree = tree_of(
        '[a]\ni = 3\nf = 1e-5\nb = true\nP = False\nn = null\nN = None\ns = "x y"\nbare = bert-base-uncased\n'
        'l = [1, "two",\n    3.5]\nd = {"k": [true]}\n'
    )
    assert tree["a"] == {
        "i": 3,
        "f": 1e-5,
        "b": True,
        "P": False,
        "n": None,
        "N": None,
        "s": "x y",
        "bare": "bert-base-uncased",
        "l": [1, "two", 3.5],
        "d": {"k": [True]},
    }
    assert type(tree["a"]["i"]) is int


def test_comments_may_follow_a_value_but_not_begin_in_text() -> None:
    text = """
# first
[a]  # a section
x = 3  # a number
y = "with # in it"  # text
z = [1,  # one
    # two is missing
    3]
w = a#b
q = "an escaped \\" # quotation mark"
"""
    assert tree_of(text)["a"] == {
        "x": 3,
        "y": "with # in it",
        "z": [1, 3],
        "w": "a#b",
        "q": 'an escaped " # quotation mark',
    }


def test_parents_need_not_be_written() -> None:
    assert tree_of("[a.b.c]\nx = 1\n[a.b.d]\ny = 2\n") == {"a": {"b": {"c": {"x": 1}, "d": {"y": 2}}}}


def test_the_order_of_sections_is_kept() -> None:
    assert list(tree_of("[g]\n[g.z]\np = 1\n[g.a]\np = 2\n[g.m]\np = 3\n")["g"]) == ["z", "a", "m"]


@pytest.mark.parametrize(
    ("text", "line", "code"),
    [
        ("[a]\nx = 1\nnonsense\n", 3, "recipe.syntax"),
        ("x = 1\n", 1, "recipe.syntax"),
        ("[a.b]\nx = 1\n[a.b.c]\n[a.b]\n", 4, "recipe.duplicate"),
        ("[a.b]\n\n[a]\n", 3, "recipe.section-order"),
        ("[a]\nx = 1\n\nx = 2\n", 4, "recipe.duplicate"),
        ("[a]\nl = [1, 2\n", 2, "recipe.syntax"),
        ("[a]\nl = [\n1\n]\n", 3, "recipe.syntax"),
        ("[a]\nl = [${a.b}]\n", 2, "recipe.syntax"),
        ("[a]\ns = 'single'\n", 2, "recipe.syntax"),
        ("[a]\ns =\n", 2, "recipe.syntax"),
        ("[a]\ns =   # only a comment\n", 2, "recipe.syntax"),
        ('[a]\ns = "unclosed\n', 2, "recipe.syntax"),
        ("[a]\nx = NaN\n", 2, "recipe.syntax"),
        ("[a]\nx = [1e999]\n", 2, "recipe.syntax"),
        ("[DEFAULT]\nx = 1\n", 1, "recipe.section-name"),
        ("[a..b]\n", 1, "recipe.section-name"),
        ("[a]\nb = 1\n[a.b]\nc = 2\n", 2, "recipe.syntax"),
        ("[a]\n  [b]\nx = 1\n", 0, "recipe.syntax"),
        ("[a] b\nx = 1\n", 0, "recipe.syntax"),
    ],
)
def test_what_cannot_be_parsed_is_said_with_its_line(text: str, line: int, code: str) -> None:
    with raises(code) as error:
        parse(text, PATH)
    assert "x.cfg" in str(error.value)
    if line:
        assert f":{line}:" in str(error.value) or f"line {line}:" in str(error.value)


def test_lines_are_known_for_settings_and_for_what_is_missing_from_a_section() -> None:
    source = parse("# c\n[a.b]\nx = 1\n\n[c]\ny = 2\n", PATH)
    assert [source.line_of(name) for name in ("a.b.x", "a.b.z", "c.y", "d.e")] == [3, 2, 6, 0]


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "latin.cfg"
    file.write_bytes("[a]\nname = Zürich\n".encode("latin-1"))
    with raises("recipe.not-utf8"):
        read(file)


def test_a_byte_order_mark_and_windows_line_ends_do_not_matter(tmp_path: Path) -> None:
    file = tmp_path / "windows.cfg"
    file.write_bytes(b"\xef\xbb\xbf[a]\r\nx = 1\r\n")
    assert read(file).tree == {"a": {"x": 1}}


# -- references ----------------------------------------------------------------------------------------------


def test_references_keep_the_type_of_what_they_refer_to() -> None:
    tree = tree_of(
        '[p]\nn = 3\nl = [1]\nt = "a"\n[q]\nn = ${p.n}\nl = ${p.l}\nboth = "${p.t}-${p.n}"\n'
        'in_list = ["${p.n}", 4]\n'
        "next = ${n}\nsection = ${p}\nchain = ${q.n}\nold = ${p:t}\n"
    )
    assert tree["q"] == {
        "n": 3,
        "l": [1],
        "both": "a-3",
        "in_list": [3, 4],
        "next": 3,
        "section": {"n": 3, "l": [1], "t": "a"},
        "chain": 3,
        "old": "a",
    }


def test_quotation_marks_and_backslashes_survive_in_a_text_around_a_reference() -> None:
    tree = tree_of('[p]\nroot = "C:\\\\data\\\\\\"new\\""\n[q]\nfile = "${p.root}\\\\train.txt"\n')
    assert tree["q"]["file"] == 'C:\\data\\"new"\\train.txt'


def test_a_dollar_is_itself_unless_it_begins_a_reference() -> None:
    tree = tree_of('[a]\nx = 1\npattern = "bias$"\nliteral = "$${a.x}"\nmoney = "$$5"\nbare = $${a.x}\n')
    assert tree["a"] == {"x": 1, "pattern": "bias$", "literal": "${a.x}", "money": "$5", "bare": "${a.x}"}


def test_bad_references_are_all_reported() -> None:
    found = problems_of(
        '[paths]\ndata = "d"\nother = "e"\n[b]\nx = ${paths.dta}\ny = "${b.y}"\nz = "a ${paths} b"\n'
        'w = ["${nothing.here}"]\n'
    )
    assert len(found) == 4
    assert found[0] == "b.x: ${paths.dta} refers to nothing; did you mean 'paths.data' or 'paths.other'?"
    assert "b.y" in found[1]
    assert "itself" in found[1]
    assert "cannot stand within a text" in found[2]
    assert "${nothing.here} refers to nothing" in found[3]


def test_a_circle_of_references_is_an_error_and_not_a_hang() -> None:
    assert any("itself" in problem for problem in problems_of("[a]\nx = ${b.y}\n[b]\ny = ${a.x}\n"))
    assert any("itself" in problem for problem in problems_of("[a]\nx = ${a}\n"))


# -- the command line ----------------------------------------------------------------------------------------


def test_overrides_are_json_where_they_can_be() -> None:
    given_ = [
        "--a.int",
        "3",
        "--a.float=1e-3",
        "--a.b.text",
        "x=y",
        "--a.list",
        "[1, 2]",
        "--a.neg",
        "-1",
        "--a.t=True",
    ]
    assert parse_overrides([*given_, "--a.null", "null", "--a.empty=", "--dashed", "--"]) == {
        "a.int": 3,
        "a.float": 1e-3,
        "a.b.text": "x=y",
        "a.list": [1, 2],
        "a.neg": -1,
        "a.t": True,
        "a.null": None,
        "a.empty": "",
        "dashed": "--",
    }


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--a.b"], "--a.b needs a value"),
        (["--a.b", "--c.d", "3"], "--a.b needs a value"),
        (["a.b", "3"], "cannot read the argument 'a.b'"),
        (["--a.b", "3", "stray"], "'stray'"),
        (["-a.b", "3"], "'-a.b'"),
    ],
)
def test_what_is_no_override_is_refused(arguments: list[str], says: str) -> None:
    with raises("recipe.override", match=says):
        parse_overrides(arguments)


# -- writing -------------------------------------------------------------------------------------------------

TEXT = st.text(max_size=30) | st.text("${}%a.\"'\\# \n=:[]", max_size=12)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
KEYS = st.from_regex(r"@?[A-Za-z_][\w-]{0,8}", fullmatch=True)
TREES = st.dictionaries(
    KEYS.filter(lambda key: key != "DEFAULT" and "@" not in key),
    st.dictionaries(KEYS, VALUES, max_size=4),
    max_size=3,
)


def as_json(value: Any) -> str:
    """Text that tells 1, 1.0 and True apart, whatever the order of keys."""
    return json.dumps(value, sort_keys=True)


@given(TREES)
def test_what_is_written_reads_as_the_same(tree: dict[str, Any]) -> None:
    problems = Problems()
    again = resolve(parse(write(tree), PATH).tree, problems)
    assert not problems.found
    assert as_json(again) == as_json(tree)
    assert list(again) == list(tree)


@given(VALUES)
def test_a_literal_refers_to_nothing(value: Any) -> None:
    problems = Problems()
    assert resolve({"a": {"x": literal(value)}}, problems) == {"a": {"x": value}}
    assert not problems.found


def test_groups_keep_their_order_when_one_of_them_has_an_odd_name() -> None:
    groups = {"odd name": {"p": 1}, "a": {"p": 2}, "b": {"p": 3}}
    assert list(tree_of(write({"training": {"groups": groups}}))["training"]["groups"]) == list(groups)


# Bounds: a recipe may be anybody's

CASES = Path(__file__).parents[2] / "shared" / "cases"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("[a" + ".a" * 16 + "]\nx = 1\n", "recipe.too-deep"),
        ("[" + ".".join(["a"] * 6000) + "]\n", "recipe.too-deep"),
        ("[a]\nx = " + "[" * 33 + "]" * 33 + "\n", "recipe.syntax"),
        ("[a]\nx = " + '{"a":' * 33 + "1" + "}" * 33 + "\n", "recipe.syntax"),
        ("[a]\nx = " + "[" * 100_000 + "]" * 100_000 + "\n", "recipe.syntax"),
        ("[a]\nx = " + "9" * 10_000 + "[\n", "ok"),
        ("[a]\nx = 1\n" + "# a comment\n" * 20_000, "recipe.too-large"),
        ("[a]\nx = 1\n" + "\n" * 20_000, "recipe.too-large"),
        ("[a]\nx = " + "y" * 1_000_001 + "\n", "recipe.too-large"),
        ("[a]\nx" + " " * 100_000 + "\n", "recipe.too-large"),
        ("[a]\nx = 1" + "\t" * 201 + "y\n", "recipe.too-large"),
    ],
)
def test_what_is_too_large_or_too_deep_is_refused_at_once(text: str, code: str) -> None:
    with in_time():
        if code == "ok":
            parse(text, PATH)
            return
        with raises(code) as refused:
            parse(text, PATH)
    assert str(PATH) in refused.value.where
    assert len(str(refused.value)) < 1000


def test_what_is_within_the_bounds_is_read() -> None:
    deep = "[" * 32 + "]" * 32
    text = f"[{'.'.join(['a'] * 16)}]\nx = {deep}\ny = {' ' * 190}1\n"
    assert parse(text, PATH).tree["a"]


@pytest.mark.parametrize(
    "line",
    [
        '"\\' * 200_000 + " #",
        '"' * 400_000 + " # c",
        "x " * 200_000 + "# c",
        "a" + " b" * 200_000,
        '"#' * 200_000,
    ],
)
def test_a_long_line_takes_time_that_grows_with_its_length(line: str) -> None:
    with in_time(), contextlib.suppress(RecipeError):
        parse(f"[a]\nx = 1\n{line}\n", PATH)


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("x = 1 # c", "x = 1"),
        ("x = 1#c", "x = 1#c"),
        ("# c", "# c"),
        ("  # c", ""),
        ('x = "a # b" # c', 'x = "a # b"'),
        ('x = "a \\" # b" # c', 'x = "a \\" # b"'),
        ('x = a " b # c', 'x = a " b'),
        ('x = "a\\\\" # c', 'x = "a\\\\"'),
        ("x\t#c", "x"),
        ("x ", "x"),
    ],
)
def test_a_comment_begins_at_a_hash_after_a_blank_and_outside_of_quotes(line: str, kept: str) -> None:
    assert text_module._uncommented(line) == kept


def _doubling(levels: int, form: str) -> str:
    lines = [f"x{n} = {form.format(n + 1)}" for n in range(levels)]
    return "\n".join(["[paths]", *lines, f'x{levels} = "y"'])


@pytest.mark.parametrize(
    "text",
    [
        _doubling(40, '"${{paths.x{0}}}${{paths.x{0}}}"'),
        _doubling(40, '["${{paths.x{0}}}", "${{paths.x{0}}}"]'),
        _doubling(2000, '"${{paths.x{0}}}"'),
        _doubling(100, '["${{paths.x{0}}}"]'),
        "\n".join(["[a]", *(f"x{n} = ${{b}}" for n in range(10)), "[b]", "x = ${c}", "y = ${c}", "[c]"])
        + "".join(f"\nk{n} = {n}" for n in range(18_000)),
    ],
)
def test_references_that_multiply_are_refused_at_once(text: str) -> None:
    problems = Problems()
    with in_time():
        resolve(parse(text, PATH).tree, problems)
    assert [p.what for p in problems.found] == ["references make this recipe too large or too deep"]


def test_many_wrong_references_are_told_in_time() -> None:
    lines = "\n".join(f"k{n} = ${{paths.no{n}}}" for n in range(8000))
    problems = Problems()
    with in_time():
        resolve(parse(f"[paths]\n{lines}\n", PATH).tree, problems)
    assert len(problems.found) == 8000


def test_the_shared_recipe_of_deep_sections_is_one_message() -> None:
    case = CASES / "faults" / "recipe-deep-section" / "h.cfg"
    if not case.exists():
        pytest.skip("the shared cases are not beside the project")
    with raises("recipe.too-deep") as refused:
        read(case)
    assert len(str(refused.value)) < 500
