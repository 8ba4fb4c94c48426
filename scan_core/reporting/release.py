"""What leaves the project: weights, a model card, the recipe, the data's manifest, checksums."""

import json
import math
from pathlib import Path

from jinja2.exceptions import UndefinedError
from ruamel.yaml import YAML

from scan_core.errors import InputError
from scan_core.params.frozen_recipe import load_frozen
from scan_core.params.schema.recipe import Recipe
from scan_core.params.settings import settings_table
from scan_core.reporting.results import load_evaluations
from scan_core.reporting.tables import main_table, render
from scan_core.storage.files import atomic_path, file_digest, read_header, read_json, write_text
from scan_core.storage.weights import load_tensors, save_tensors

WEIGHTS, CARD, RECIPE = "model.safetensors", "README.md", "params.yaml"
MANIFEST, CHECKSUMS = "dataset_manifest.json", "SHA256SUMS"


def release(
    model: Path, recipe_file: Path, manifest: Path, evaluation: list[Path], output_folder: Path
) -> None:
    """Put a release together. Every file is a copy of its own: nothing else shares its bytes.

    The weights' header holds the settings with which the model was evaluated on each benchmark, so
    that whoever loads it gets the numbers of the tables.

    Args:
        model: made by `fuse_weights`.
        recipe_file: the recipe, as the workflow freezes it.
        manifest: of the recipe's datasets.
        evaluation: metrics.json of each benchmark, all of this model.
        output_folder: where to write, each file atomically.

    Raises:
        InputError: the model or the manifest cannot be read.
    """
    shapes, header = read_header(model, "make it again")
    document, _ = load_frozen(recipe_file)
    name = document["recipe"]
    recipe = document["recipes"][name]
    header["test_settings"] = settings_table(Recipe.model_validate(recipe)).as_dict()
    save_tensors(output_folder / WEIGHTS, load_tensors(model)[0], header)
    data, results = read_json(manifest), load_evaluations(evaluation)
    write_text(output_folder / MANIFEST, manifest.read_text(encoding="utf-8"))
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    with atomic_path(output_folder / RECIPE) as temporary:
        yaml.dump(document, temporary)
    counts = results.drop_duplicates("benchmark")[["benchmark", "images"]].to_numpy()
    try:
        splits = data["benchmarks"].get(recipe["datasets"]["train"], {}).get("splits", {})
        card = render(
            "model_card.md.jinja",
            name=name,
            recipe=recipe,
            small=isinstance(recipe["clip"]["architecture"], dict),
            weights=WEIGHTS,
            default_settings=json.dumps(header["test_settings"]["default"]),
            data=data,
            training_images=splits.get("train", {}).get("images"),
            table=main_table(results).markdown(),
            images=", ".join(f"`{benchmark}` {count}" for benchmark, count in counts),
            parameters=sum(math.prod(shape) for shape in shapes.values()),
            digest=file_digest(output_folder / WEIGHTS),
            header=header,
        )
    except (ValueError, KeyError, TypeError, UndefinedError) as error:
        raise InputError(
            f"{manifest} or the header of {model} is damaged ({type(error).__name__}: {error}); "
            "delete it, and it is made again"
        ) from None
    write_text(output_folder / CARD, f"{card}\n")
    files = (WEIGHTS, CARD, RECIPE, MANIFEST)
    sums = [f"{file_digest(output_folder / file)}  {file}\n" for file in files]
    write_text(output_folder / CHECKSUMS, "".join(sums))
