"""What other models have predicted, by method and benchmark."""

from scan_core.params.needed_files import given_predictions
from scan_core.storage.listing import listing

GIVEN = given_predictions(RECIPE)


def given_files(wildcards):
    """Where a method's predictions on a benchmark lie."""
    return str(GIVEN[wildcards.method][wildcards.benchmark])


def predictions_made_of(wildcards):
    """With sizes and times of all files, so that a change of one of them counts."""
    return made_of(
        "score_predictions",
        f"{wildcards.method}/{wildcards.benchmark}",
        scored_by=scored_by(wildcards.benchmark),
        predictions=given_files(wildcards),
        files=listing(Path(given_files(wildcards))),
    )


def of_every_given(file):
    """One file of the scores of every method, for every benchmark that it has predictions for."""
    return [
        f"{RESULTS}/predictions/{method}/{benchmark}/{file}"
        for method, of_method in GIVEN.items()
        for benchmark in of_method
    ]
