"""Put a model's release together: weights, model card, recipe, dataset manifest, checksums."""

import logging
from pathlib import Path

from scan_core.params.command_line import run


def release(
    model: Path, recipe_file: Path, manifest: Path, evaluation: list[Path], output_folder: Path
) -> None:
    """Put a model's release together: weights, model card, recipe, dataset manifest, checksums.

    Args:
        model: made by fuse_weights.
        recipe_file: the recipe, as the workflow freezes it.
        manifest: of the datasets.
        evaluation: metrics.json of each benchmark, all of this model.
        output_folder: where to write.
    """
    from scan_core.params.frozen_recipe import load_frozen
    from scan_core.reporting.release import write_release
    from scan_core.reporting.results import load_evaluations

    document, _ = load_frozen(recipe_file)
    write_release(model, document, manifest, load_evaluations(evaluation), output_folder)
    logging.info("release of %s in %s", document["recipe"], output_folder)


if __name__ == "__main__":
    run(release)
