"""Speed and memory of inference at full size, stage by stage.

    python -m benchmarks.inference                             # ViT-B/16, float32 and bfloat16
    python -m benchmarks.inference --recipe vitl14
    python -m benchmarks.inference --device cuda --precision float32 tf32 bfloat16 --compile

One image of 640 × 853 pixels, 100 crops, random weights. Beside each stage stands its floor:
its FLOPs at the rate of a large matrix product (`@`) in the same run and precision. A stage may
be below it, where PyTorch has a faster way to multiply than `@` (scan_core/models/cpu_linear.py).
The ratios compare with the same work by public libraries in float32, measured in the same run
(benchmarks/public_libraries.py).
"""

import argparse
import resource
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.machine import described, print_table, product_rate, seconds
from benchmarks.public_libraries import PublicLibraries
from scan_core.inference.class_map import class_maps
from scan_core.inference.devices import stored_dtype, tensor_float
from scan_core.inference.image_features import CropSetting, ImageFeatures, ImageViews
from scan_core.inference.scan import Scan
from scan_core.models.cpu_linear import convolutional_linear
from scan_core.models.crops import MaskedCrops, masked_crops
from scan_core.models.preprocessing import backbone_input, resize_for_clip
from scan_core.params.command_line import keep_freed_memory
from scan_core.params.reading import read_params, validate
from scan_core.params.schema.recipe import Recipe
from scan_core.params.settings import Precision, TestSettings

SIZE = (640, 853)
RATIO = 0.05
# Parts of the public libraries' work, and the beginnings of the names of our stages in them.
PARTS = {
    "proposals, whole image": ("backbone", "frozen CLIP", "semantic integration"),
    "masks and crops": ("masks", "crops"),
    "CLIP on crops": ("draws", "CLIP on crops"),
    "combine": ("combine",),
}


class Bench:
    """One recipe on one device in one precision."""

    def __init__(self, recipe: Recipe, device: str, precision: Precision, compiled: bool) -> None:
        torch.manual_seed(0)
        self.precision = precision
        self.scan = Scan.from_recipe(recipe, device=device)
        self.device = self.scan.image_encoder.device
        self.rate = product_rate(stored_dtype(precision), self.device)
        network = self.scan.network.requires_grad_(False)  # or FLOPs cannot be counted
        if compiled:
            network.proposal_network.compile()
            for block in network.clip.visual.transformer.resblocks:
                block.compile()
        self.image = torch.randint(0, 256, (3, *SIZE), dtype=torch.uint8).to(self.device)

    def text(self, classes: int) -> Tensor:
        """Stands for class names: (classes + 1, E) random features."""
        width = self.scan.network.no_object_embedding.shape[1]
        generator = torch.Generator().manual_seed(classes)
        features = torch.randn(classes + 1, width, generator=generator)
        return F.normalize(features, dim=-1).to(self.device)

    @torch.inference_mode()
    def stages(self) -> tuple[list[tuple[str, float, float]], ImageFeatures]:
        """Run the networks: name, seconds and FLOPs of every stage, and what was seen."""
        network, image_encoder = self.scan.network, self.scan.image_encoder
        setting = CropSetting.of(settings_grid(self.precision)[0])
        rows: list[tuple[str, float, float]] = []

        def stage(name: str, work: Callable[[], object]) -> None:
            with FlopCounterMode(display=False) as counter:
                work()
            rows.append((name, seconds(work, self.device), counter.get_total_flops()))

        pixels = backbone_input([self.image])
        small = resize_for_clip([self.image], network.original_clip.input, as_released=False)
        with convolutional_linear(network), tensor_float(self.precision):
            stage("backbone and decoders", lambda: network.proposal_network(pixels))
            stage("frozen CLIP, whole image", lambda: network.view(small))
            proposals, view = network.proposal_network(pixels), network.view(small)
            stage("semantic integration", lambda: network.embed(proposals, view))
            image_features, *_ = image_encoder.propose([self.image])
            cls = image_features.cls
            stage("masks", image_features.masks)
            masks = image_features.masks()
            # Above its median every mask has pixels, and half of the image is background.
            chosen = masks > masks.flatten(1).median(1).values[:, None, None]
            side = image_encoder.visual.input
            stage("crops", lambda: masked_crops(self.image, chosen, side))
            crops = masked_crops(self.image, chosen, side)
            stage(
                "draws of the shift",
                lambda: image_encoder.shift(crops, cls, setting, len(masks), 0),
            )
            stage("CLIP on crops, shifted", lambda: self._describe(crops, cls, setting))
            features = self._describe(crops, cls, setting)
        seen = {setting: features}
        peaks = torch.ones_like(masks[:, 0, 0])
        return rows, replace(image_features, peaks=peaks, crop_features=seen)

    def _describe(self, crops: MaskedCrops, cls: Tensor, setting: CropSetting) -> Tensor:
        return self.scan.image_encoder.encode_crops(crops, cls, [setting], 100, 0)[0]

    @torch.inference_mode()
    def combine(
        self, image_features: ImageFeatures, text: Tensor, settings: Sequence[TestSettings]
    ) -> list[Tensor]:
        """Class maps of all settings."""
        seen = ImageViews((image_features,))
        scores = [self.scan.score(seen, text, setting) for setting in settings]
        return class_maps(image_features.masks(), scores, SIZE)


def settings_grid(precision: Precision) -> list[TestSettings]:
    """30 settings: 6 mask thresholds × 5 weights, with crops of their own threshold."""
    base = TestSettings(
        mask_threshold=0.4,
        crop_threshold=0.2,
        crop_expansion=1.0,
        clip_weight=0.7,
        ensemble="geometric",
        replace_ratio=RATIO,
        replace_layers=(1, 3, 5),
        prompts="vild",
        logit_scale=100.0,
        short_side=640,
        longest_side=2560,
        precision=precision,
    )
    grid = [
        replace(base, mask_threshold=threshold, clip_weight=weight)
        for threshold in (0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
        for weight in (0.1, 0.3, 0.5, 0.7, 0.9)
    ]
    assert len({CropSetting.of(setting) for setting in grid}) == 1
    return grid


def report(
    name: str,
    recipe: Recipe,
    options: argparse.Namespace,
    precision: Precision,
    libraries: dict[str, float],
) -> Tensor:
    """Measure and print one table; returns a class map, to compare precisions by."""
    bench = Bench(recipe, options.device, precision, options.compile)
    rows, image_features = bench.stages()
    one = settings_grid(precision)[:1]
    print(
        f"\n{name}, {precision}, {bench.device}"
        f"{', compiled' if options.compile else ''}: @ runs at {bench.rate / 1e9:.0f} GFLOP/s"
    )
    networks = sum(duration for _, duration, _ in rows)
    combined = {}
    for classes in options.classes:
        text = bench.text(classes)
        work = lambda text=text: bench.combine(image_features, text, one)  # noqa: E731
        combined[classes] = seconds(work, bench.device, least=1.0)
        flops = 2.0 * classes * 100 * SIZE[0] * SIZE[1]
        rows.append((f"combine, {classes} classes", combined[classes], flops))
    total = networks + combined[options.classes[0]]
    print_table(
        ("stage", "seconds", "TFLOP", "floor", "× floor", "share"),
        [
            (
                stage,
                f"{duration:.3f}",
                f"{flops / 1e12:.3f}",
                f"{flops / bench.rate:.3f}",
                f"{duration * bench.rate / flops:.2f}" if flops > 1e-3 * bench.rate else "–",
                f"{duration / total:.1%}",
            )
            for stage, duration, flops in rows
        ],
    )
    for classes, duration in combined.items():
        single = networks + duration
        text = bench.text(classes)
        work = lambda text=text: bench.combine(image_features, text, settings_grid(precision))  # noqa: E731
        grid = networks + seconds(work, bench.device)
        print(
            f"{classes} classes: {single:.2f} s an image, {1 / single:.3f} images/s; "
            f"30 settings {grid:.2f} s, {grid / single:.2f} times one"
        )
    if libraries:
        compare(rows[: len(rows) - len(combined) + 1], libraries)
    print(f"peak memory, libraries included: {peak_memory(bench.device):.1f} GiB")
    return bench.combine(image_features, bench.text(options.classes[0]), one)[0]


def compare(rows: Sequence[tuple[str, float, float]], libraries: dict[str, float]) -> None:
    """Print the seconds of public libraries, ours, and their ratio, part by part."""
    ours = {
        part: sum(seconds for name, seconds, _ in rows if name.startswith(beginnings))
        for part, beginnings in PARTS.items()
    }
    both = [(part, libraries[part], ours[part]) for part in PARTS]
    total = ("an image", sum(libraries.values()), sum(ours.values()))
    print_table(
        ("seconds", "public libraries", "this project", "ratio", "share"),
        [
            (part, f"{theirs:.3f}", f"{own:.3f}", f"{own / theirs:.2f}", f"{own / total[2]:.1%}")
            for part, theirs, own in (*both, total)
        ],
    )


def library_seconds(recipe: Recipe, options: argparse.Namespace) -> dict[str, float]:
    """Of every part of the work by public libraries; nothing for a CLIP that they do not have."""
    if not isinstance(recipe.clip.architecture, str):
        return {}
    device = torch.device(options.device)
    libraries = PublicLibraries(recipe, device)
    image = torch.randint(0, 256, (3, *SIZE), dtype=torch.uint8).to(device)
    runs = [libraries.infer(image, options.classes[0]) for _ in range(3)]
    return {part: min(run[part] for run in runs[1:]) for part in PARTS}


def peak_memory(device: torch.device) -> float:
    """GiB: of the process on a CPU, allocated on a GPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    """Print one table for each precision, and how many pixels they agree on."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipe", default="vitb16")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--classes", nargs="+", type=int, default=[150, 847])
    parser.add_argument("--compile", action="store_true", help="torch.compile the networks")
    options = parser.parse_args()
    recipe = validate(read_params(Path("params.yaml"))).recipes[options.recipe]
    print(described(torch.device(options.device)))
    libraries = library_seconds(recipe, options)
    keep_freed_memory()  # as our commands do, and what the libraries leave as it is
    reference = None
    for precision in options.precision:
        class_map = report(options.recipe, recipe, options, precision, libraries).cpu()
        if reference is None:
            reference = class_map
        else:
            equal = (class_map == reference).double().mean()
            print(f"pixels equal to {options.precision[0]}: {equal:.2%}")


if __name__ == "__main__":
    main()
