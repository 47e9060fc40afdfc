"""Do photographs help? CP-MNER: museum texts on Chinese paintings, each with a photo of the painting.

    python benchmarks/real/cp_mner.py --data data/cp_mner --models models

Four arms share everything else: text alone; HVPNeT's visual prefix with the photos, and with blank images in their
place (what the prefix gives without anything to see); and the photo's vector joined to each word. The encoders are
multilingual-e5-small (`e5_multilingual`) and a frozen EfficientNet-Lite0 (`efficientnet_lite0`). There are no crops,
and HVPNeT's tagger of subwords is replaced by one of words, so that all arms have the same.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from arms import Arm, Study
from command import main, parser_of

RECIPE = Path(__file__).parent / "cp_mner.cfg"
PREFIX = {
    "model.encoders.vision": {
        "@encoders": "mmkit.timm_pyramid.v1",
        "grid": 2,
        "photos": 1,
        "objects": 0,
    },
    "model.fuser": {"@fusers": "hvpnet.visual_prefix.v1"},
}
VECTOR = {
    "model.encoders.vision": {"@encoders": "mmkit.timm.v1"},
    "model.fuser": {"@fusers": "mmkit.concat.v1"},
}
PATHS = {"model.encoders.vision.name": "backbones.vision"}
BLANK = {f"data.{split}.blank_images": True for split in ("train", "dev", "test")}
ARMS = [
    Arm("text", "text alone"),
    Arm("hvpnet", "HVPNeT's visual prefix, with photos", PREFIX, paths=PATHS),
    Arm("hvpnet_blank", "HVPNeT's visual prefix, with blank images", {**PREFIX, **BLANK}, paths=PATHS),
    Arm("concat", "the photo's vector beside each word", VECTOR, paths=PATHS),
]


def study_of(arguments: argparse.Namespace) -> Study:
    """The study, with the folders that the command line names."""
    models = arguments.models.resolve()
    encoders = {"text": models / "e5_multilingual", "vision": models / "efficientnet_lite0"}
    return Study(
        name="cp_mner",
        title="Photographs on CP-MNER",
        recipe=str(RECIPE),
        settings={"training.epochs": arguments.epochs},
        paths={
            "paths.data": str(arguments.data.resolve()),
            **{f"backbones.{name}": str(folder) for name, folder in encoders.items()},
        },
        encoders=encoders,
        arms=ARMS,
    )


if __name__ == "__main__":
    main(parser_of(__doc__), study_of)
