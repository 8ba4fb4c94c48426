"""Generate the documentation's pages and diagrams that follow from code: `make docs`."""

from pathlib import Path

from docs.clips_table import clips_page
from docs.diagrams import DIAGRAMS
from docs.json_schema import json_schema
from docs.parameter_reference import parameter_reference

FOLDER = Path(__file__).parent
PARAMETERS = FOLDER / "parameters.md"
SCHEMA = FOLDER / "params.schema.json"
CLIPS = FOLDER / "clips.md"

if __name__ == "__main__":
    PARAMETERS.write_text(parameter_reference(Path("params.yaml")), encoding="utf-8")
    SCHEMA.write_text(json_schema(), encoding="utf-8")
    CLIPS.write_text(clips_page(), encoding="utf-8")
    for name, draw in DIAGRAMS.items():
        (FOLDER / f"pictures/{name}.svg").write_text(draw(), encoding="utf-8")
