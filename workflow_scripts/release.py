"""Put a model's release together: weights, model card, recipe, dataset manifest, checksums."""

from scan_core.params.command_line import run
from scan_core.reporting.release import release

if __name__ == "__main__":
    run(release)
