"""The one list of classifiers: what gives the proposals their classes."""

from scan_core.params.settings import TestSettings

CHANCE = "chance"
# Key in files -> name in tables: each of the two classifiers alone, both together (the model as a
# whole), and a random class for each proposal.
CLASSIFIERS = {
    "in_vocabulary": "in-vocabulary only",
    "clip_only": "CLIP only",
    "combined": "combined",
    CHANCE: "chance",
}


def classifier_settings(settings: TestSettings) -> dict[str, TestSettings]:
    """Settings of the whole model and of its classifiers alone, from those of the whole model."""
    return {
        "combined": settings,
        "in_vocabulary": settings.overridden(clip_weight=0.0),
        "clip_only": settings.overridden(clip_weight=1.0),
    }
