"""Records with every field that format 1 of canonical jsonlines has."""

from __future__ import annotations

from mmkit.data.types import Entity, Example, Image, Mention, Prediction, Relation, Span

EXAMPLES = (
    Example(
        id="every field",
        text="Michael Jordan's Chicago , 🏀!",
        tokens=("Michael", "Jordan", "'s", "Chicago", ",", "🏀", "!"),
        offsets=((0, 7), (8, 14), (14, 16), (17, 24), (25, 26), (27, 28), (28, 29)),
        images=(
            Image("photos/1.jpg"),
            Image("photos/1.jpg", "object", (1.5, 2.0, 30.25, 40.0)),
            Image("crops/1_0.jpg", "object"),
            Image(None),
        ),
        spans=(Span(0, 2, "PER"), Span(3, 4, "LOC")),
        relations=(
            Relation(Span(0, 2, "PER"), Span(3, 4, "LOC"), "place_of_residence"),
            Relation(Span(3, 4, "LOC"), Span(0, 2, "PER")),
        ),
        mention=Mention("Michael Jordan", Span(0, 2, "mention")),
        entity="Q41421",
        candidates=("Q41421", "Q27069141"),
        notes={"third.party": {"nested": [1, 2.5, None, True, "é"]}, "mmkit.orphan_spans": [[3, 4]]},
    ),
    Example.from_tokens("plain", ("Jordan", "scores", "again")),
    Example(
        "no words", "", (), (), images=(Image("photos/2.jpg"),), mention=Mention("Jordan"), entity="Q810"
    ),
)

ENTITIES = (
    Entity(
        id="Q41421",
        name="Michael Jordan",
        aliases=("MJ", "Air Jordan"),
        description="American basketball player",
        images=(Image("photos/mj.jpg"), Image("photos/mj.jpg", "object", (0.0, 0.0, 16.0, 16.0))),
        notes={"dwe.profile": ["man"]},
    ),
    Entity("Q810", "Jordan"),
)

PREDICTIONS = (
    Prediction(
        id="every field",
        spans=(Span(0, 2, "PER"), Span(3, 4, "LOC")),
        span_scores=(0.9921875, 0.5),
        relations=(Relation(Span(0, 2, "PER"), Span(3, 4, "LOC"), "place_of_residence"),),
        relation_scores=(0.8125,),
        links=("Q41421", "Q27069141"),
        link_scores=(0.75, 0.4375),
        notes={
            "mmkit.entity_matcher": {
                "candidates": {"size": 2, "rank": 1, "found": True},
                "knowledge_base": {"size": 3, "rank": 2, "links": ["Q810"], "scores": [0.5]},
            }
        },
    ),
    Prediction("nothing found"),
)

LOOSE = (
    # examples as users write them: the header, then as little as is needed
    '{"format": 1, "kind": "examples"}',
    '{"text": "Jordan scores again", "images": ["photos/1.jpg"]}',
    '{"tokens": ["Jordan", "scores"], "spans": [{"start": 0, "end": 1, "label": "PER"}]}',
    '{"id": "x", "text": "Jordan\'s  goal", "tokens": ["Jordan", "goal"], "mention": {"text": "MJ"}}',
)
LOOSELY_READ = (
    Example(
        "loose:2",
        "Jordan scores again",
        ("Jordan", "scores", "again"),
        ((0, 6), (7, 13), (14, 19)),
        (Image("photos/1.jpg"),),
    ),
    Example("loose:3", "Jordan scores", ("Jordan", "scores"), ((0, 6), (7, 13)), spans=(Span(0, 1, "PER"),)),
    Example("x", "Jordan's  goal", ("Jordan", "goal"), ((0, 6), (10, 14)), mention=Mention("MJ")),
)
