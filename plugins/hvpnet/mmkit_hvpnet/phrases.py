"""Noun phrases of a sentence, for which the detector looks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from transformers import AutoModelForTokenClassification

from mmkit.annotators.pretrained import annotators_model
from mmkit.errors import PartError
from mmkit.pretrained.source import Pretrained
from mmkit.pretrained.vocabulary import check_vocabulary

FUNCTION_WORDS = frozenset(
    """
    a about above after again against all almost also although always am among an and another any anyone
    anything are aren't around as at away back be became because been before behind being below between
    both but by came can can't cannot come could couldn't did didn't do does doesn't doing don't down
    during each either else ever every everyone everything few first for from get gets getting go goes
    going gone gonna got had hadn't has hasn't have haven't having he he's her here here's hers herself
    him himself his how however i i'd i'll i'm i've if im in into is isn't it it's its itself just last
    let let's like made make makes making many may maybe me might mine more most much must my myself near
    never next no nobody nor not nothing now of off often on once one only or other our ours out over
    own per put rather really rt said same say says see seen set shall she she's should shouldn't since
    so some someone something soon still such take takes than thank thanks that that's the their theirs
    them themselves then there there's these they they're this those though through thru to today tonight
    too took tomorrow toward towards u under until up upon ur us use used very via was wasn't we we'll
    we're we've well went were weren't what what's when where which while who who's whom whose why will
    with within without won't would wouldn't yes yesterday yet you you'll you're you've your yours
    yourself
    """.split()  # noqa: SIM905 - 200 words read better as text
)
"""English words that name no object in an image; lower case."""

NO_WORD = re.compile(r"@\w|https?:|www\.|IMGID:|^\W*\d*\W*$", re.IGNORECASE)
"""User names, links, numbers and punctuation."""

NOUN_PHRASE = re.compile("A*N+")
"""Adjectives before nouns, in the code letters of `_code`."""


def stop_word_phrases(tokens: Sequence[str]) -> list[str]:
    """The longest sequences of tokens that are not function words, user names, links, numbers or punctuation.

    A chunker that needs no model: its phrases contain nouns and adjectives, but also verbs and adverbs, which a
    detector does not find. Hashtags count as words, without their mark. English only.
    """
    runs: list[list[str]] = [[]]
    for token in tokens:
        word = token.lstrip("#").strip(".,;:!?…\"'“”‘’()[]")
        if NO_WORD.search(token) or word.lower().replace("’", "'") in FUNCTION_WORDS or not word:
            runs.append([])
        else:
            runs[-1].append(word)
    return _distinct(runs)


def tagged_phrases(tokens: Sequence[str], tags: Sequence[str]) -> list[str]:
    """Adjectives followed by nouns, from part-of-speech tags (universal or Penn Treebank) of the tokens."""
    code = "".join(map(_code, tags))
    runs = [tokens[found.start() : found.end()] for found in NOUN_PHRASE.finditer(code)]
    return _distinct([[token.lstrip("#") for token in run if not NO_WORD.search(token)] for run in runs])


def tagging_model(name: str) -> Pretrained:
    """Where a tagger of parts of speech is loaded from."""
    hint = "name a token classification model of the Hub that tags parts of speech, or the folder of one"
    return annotators_model("the tagger", name, None, hint, ("weights", "tokenizer"))


class PosTagger:
    """A Hugging Face token-classification model that tags parts of speech.

    Raises `PartError` if its labels are not part-of-speech tags or its tokenizer is not a fast one.
    """

    def __init__(self, name: str, device: str = "cpu") -> None:
        pretrained = tagging_model(name)
        self.tokenizer = pretrained.tokenizer()
        model: Any = pretrained.network(AutoModelForTokenClassification)
        check_vocabulary(self.tokenizer, model.config, name)
        self.model = model.to(device).eval()
        labels = self.model.config.id2label
        if not any(_code(label) == "N" for label in labels.values()):
            raise PartError(
                f"{name!r} tags no nouns; its labels are {', '.join(map(str, labels.values()))}",
                hint="use a model with universal (NOUN, PROPN) or Penn Treebank (NN, NNP) tags",
                code="hvpnet.no-nouns",
            )

    @torch.inference_mode()
    def __call__(self, tokens: Sequence[str]) -> list[str]:
        """A tag for each token, that of its first subword; "X" for tokens beyond the model's limit."""
        encoded = self.tokenizer(list(tokens), is_split_into_words=True, truncation=True, return_tensors="pt")
        best = self.model(**encoded.to(self.model.device)).logits[0].argmax(-1).tolist()
        tags = ["X"] * len(tokens)
        for position, word in reversed(list(enumerate(encoded.word_ids()))):
            if word is not None:
                tags[word] = self.model.config.id2label[best[position]]
        return tags


def _code(tag: str) -> str:
    """One letter for a part of speech: N(oun), A(djective) or o(ther)."""
    if tag in {"NOUN", "PROPN"} or tag.startswith("NN"):
        return "N"
    return "A" if tag == "ADJ" or tag.startswith("JJ") else "o"


def _distinct(runs: Iterable[Sequence[str]]) -> list[str]:
    """The runs as phrases, in order, without empty ones and without those that differ only in case."""
    phrases = (" ".join(run) for run in runs)
    return list({phrase.lower(): phrase for phrase in phrases if phrase}.values())
