"""The ways to classify the same proposals: the one list of them."""

from scan_core.params.settings import TestSettings

# The model as a whole, and each of its two classifiers alone.
WAYS = ("combined", "in_vocabulary", "clip_only")
# The same proposals with a random class for each.
CHANCE = "chance"


def ways_to_classify(settings: TestSettings) -> dict[str, TestSettings]:
    """The settings of each of `WAYS`, from those of the model as a whole."""
    weights = (settings.clip_weight, 0.0, 1.0)
    return {
        way: settings.with_clip_weight(weight) for way, weight in zip(WAYS, weights, strict=True)
    }
