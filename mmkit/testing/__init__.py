"""For tests of plugins: stand-ins, and contract checks, one for each station.

A check takes a part that is not built yet, or its registered name and its settings. It raises an `AssertionError`
with one sentence that names the part, the check and what was found. Other objects that a check needs are stand-ins,
unless the test passes its own.
"""

from mmkit.testing.annotating import check_annotator
from mmkit.testing.decoding import check_decoder
from mmkit.testing.encoding import check_encoder
from mmkit.testing.fusing import check_fuser
from mmkit.testing.parts import registered_parts, train_on_sample
from mmkit.testing.reading import check_reader
from mmkit.testing.recipes import check_recipe
from mmkit.testing.scoring import check_metric
from mmkit.testing.stand_ins import (
    ImageEncoder,
    StateFuser,
    WordEncoder,
    batch_of,
    stand_in_entities,
    stand_in_examples,
    written_images,
)

__all__ = [
    "ImageEncoder",
    "StateFuser",
    "WordEncoder",
    "batch_of",
    "check_annotator",
    "check_decoder",
    "check_encoder",
    "check_fuser",
    "check_metric",
    "check_reader",
    "check_recipe",
    "registered_parts",
    "stand_in_entities",
    "stand_in_examples",
    "train_on_sample",
    "written_images",
]
