"""Generate the documentation pages that follow from code: `make docs`."""

from pathlib import Path

from scan_core.reporting.parameters import parameter_reference

PARAMETERS = Path(__file__).parent / "parameters.md"

if __name__ == "__main__":
    PARAMETERS.write_text(parameter_reference(Path("params.yaml")), encoding="utf-8")
