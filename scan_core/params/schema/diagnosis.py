"""`diagnosis`: where the main model loses points, and whether its scores are calibrated."""

from scan_core.params.schema.fields import Block, Count


class Diagnosis(Block):
    """Where the main model loses points on each benchmark, and whether its scores are calibrated.

    Parts of the model are replaced by the truth, one after the other; see `docs/diagnosis.md`.
    """

    enabled: bool = False
    """Whether `all` diagnoses the main model, and the report shows it."""
    images: Count = 100
    """Number of validation images of each benchmark, spread evenly; 0: all."""
