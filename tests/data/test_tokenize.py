from __future__ import annotations

from itertools import pairwise

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from mmkit.data.tokenize import joined_bounds, tokenize

TWEETS = st.lists(
    st.one_of(
        st.text(max_size=5),
        st.sampled_from(["@a", "#b", "http://t.co/x.", "don't", "'s", "👨‍👩‍👧", "\u2028", "\x00"]),
    )
).map("".join)


@given(TWEETS)
def test_tokens_are_the_text_without_its_white_space(text: str) -> None:
    tokens, offsets = tokenize(text)
    assert [text[start:end] for start, end in offsets] == list(tokens)
    assert all(token and not any(c.isspace() for c in token) for token in tokens)
    assert list(offsets) == sorted(offsets)
    assert "".join(tokens) == "".join(text.split())


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("RT @WLWT: Bill Cosby's star.", "RT @WLWT : Bill Cosby 's star ."),
        ("I'm sure they don't; O'Neil’s #1Fan_Club", "I 'm sure they don't ; O'Neil ’s #1Fan_Club"),
        ("(see http://t.co/x), www.a.org!", "( see http://t.co/x ) , www.a.org !"),
        ("mail me@x.org at 10:30, 3,000.5% off", "mail me@x.org at 10:30 , 3,000.5% off"),
        ("well-known AT&T in the U.S. ...", "well-known AT&T in the U.S. ..."),
        ("I❤️it 👨‍👩‍👧!", "I ❤️ it 👨‍👩‍👧 !"),
        ("e\u0301te\u0301 東京へ", "e\u0301te\u0301 東 京 へ"),
        ("1️⃣2️⃣ #️⃣ 23⃣", "1️⃣ 2️⃣ #️⃣ 23⃣"),
        ("🇩🇪🇫🇷🏴\U000e0067\U000e0062\U000e007f!", "🇩🇪 🇫🇷 🏴\U000e0067\U000e0062\U000e007f !"),
        ("👍🏽👍 ☺️☺️ हिन्दी में", "👍🏽 👍 ☺️ ☺️ हिन्दी में"),
        ("@ # 'quoted'", "@ # ' quoted '"),
        (" \n ", ""),
    ],
)
def test_tweets_are_cut_as_the_published_ones_are(text: str, tokens: str) -> None:
    assert tokenize(text)[0] == tuple(tokens.split())


EMOJI = ["1\ufe0f\u20e3", "#\u20e3", "🇩🇪", "👍🏽", "👨\u200d👩\u200d👧", "❤\ufe0f"]
LETTERS = ["a", "é", "e\u0301", "हि", "न्दी", "ก็", "し\u3099", "'", ".", "http://x", " ", "2", "-"]
CLUSTERS = st.sampled_from(EMOJI + LETTERS)


@given(st.lists(CLUSTERS).map("".join))
def test_grapheme_clusters_are_never_cut(text: str) -> None:
    inside = {at for m in regex.finditer(r"\X", text) for at in range(m.start() + 1, m.end())}
    assert not inside & {at for bounds in tokenize(text)[1] for at in bounds}


@pytest.mark.parametrize("piece", ["a.", "'", "a'", "http://", "-", "a@", "\u0301", "1,", "#_"])
def test_long_odd_input_takes_no_more_than_linear_time(piece: str) -> None:
    """With the square of the length, this would take minutes."""
    pieces = tokenize(piece * 200_000)[0]
    assert "".join(pieces) == piece * 200_000


@given(st.lists(st.text(max_size=4), max_size=6))
def test_bounds_of_joined_tokens_are_those_in_their_text(tokens: list[str]) -> None:
    text, bounds = " ".join(tokens), joined_bounds(tokens)
    assert [text[start:end] for start, end in bounds] == tokens
    assert all(before[1] + 1 == after[0] for before, after in pairwise(bounds))
    assert not bounds or (bounds[0][0], bounds[-1][1]) == (0, len(text))
