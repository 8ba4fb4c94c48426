"""Checkpoints: our own, and foreign ones brought into our network, with a report of the keys."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from scan_core.errors import InputError
from scan_core.models.build import build_network
from scan_core.models.clip import build_clip
from scan_core.models.released_names import (
    BACKBONE,
    CLIP,
    FINETUNED_CLIP,
    PROPOSAL_NETWORK,
    SCAN,
    Rules,
    to_ours,
)
from scan_core.models.scan import ScanNetwork
from scan_core.params.schema.fields import WEIGHTS_HOLD
from scan_core.storage.weights import load_foreign, load_tensors, save_tensors

_log = logging.getLogger(__name__)
_SHOWN = 8

# Kind of checkpoint -> its names (None: ours), which of our weights it has to bring, and the
# beginnings of the names that it may hold besides, which have no place in our network.
KINDS: dict[str, tuple[Rules | None, tuple[str, ...], tuple[str, ...]]] = {
    "scan": (SCAN, ("",), ()),
    "mask2former": (
        PROPOSAL_NETWORK,
        ("proposal_network.backbone.", "proposal_network.pixel_decoder."),
        ("sem_seg_head.predictor.class_embed.",),
    ),
    "finetuned_clip": (FINETUNED_CLIP, ("clip.",), ()),
    "clip": (CLIP, ("clip.",), ()),
    "segmenter": (None, ("proposal_network.", "semantic_integration.", "no_object"), ()),
    "model": (None, ("",), ()),
    "backbone": (
        BACKBONE,
        ("proposal_network.backbone.swin.",),
        ("norm.", "head.", "backbone.norm.", "backbone.head."),
    ),
}


@dataclass(frozen=True)
class KeyReport:
    """How a set of tensors fits a module.

    Attributes:
        loaded: number of tensors that fit.
        missing: weights of the module for which there is no tensor.
        extra: tensors for which there is no weight.
        reshaped: name, the tensor's shape, the shape that is needed.
    """

    loaded: int
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    reshaped: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]

    def __str__(self) -> str:
        """A few lines for a person."""
        lines = [f"{self.loaded} tensors fit"]
        shapes = [f"{name}: {got}, needed {needed}" for name, got, needed in self.reshaped]
        for title, names in (
            ("missing", self.missing),
            ("not known here", self.extra),
            ("of another shape", shapes),
        ):
            if names:
                lines.append(f"{len(names)} {title}: {'; '.join(names[:_SHOWN])}")
                lines[-1] += "; ..." if len(names) > _SHOWN else ""
        return "\n  ".join(lines)


def compare_keys(module: nn.Module, tensors: Mapping[str, Tensor]) -> KeyReport:
    """How `tensors` fits `module`, by names and shapes, without loading anything."""
    weights = module.state_dict()
    common = weights.keys() & tensors.keys()
    reshaped = [
        (name, tuple(tensors[name].shape), tuple(weights[name].shape))
        for name in weights
        if name in common and tensors[name].shape != weights[name].shape
    ]
    return KeyReport(
        loaded=len(common) - len(reshaped),
        missing=tuple(name for name in weights if name not in common),
        extra=tuple(name for name in tensors if name not in common),
        reshaped=tuple(reshaped),
    )


def save_network(path: Path, network: ScanNetwork, header: Mapping[str, Any]) -> None:
    """Write a whole network atomically.

    Args:
        path: ends in `.safetensors`.
        network: its weights are written as they are.
        header: must hold `architecture`, from `build.architecture_of`; further keys, such as
            recipe, versions and data hash, are kept.
    """
    if "architecture" not in header:
        raise ValueError("the header of a checkpoint needs the key 'architecture'")
    save_tensors(path, network.state_dict(), header)


def load_network(path: Path) -> tuple[ScanNetwork, dict[str, Any]]:
    """Read a network that `save_network` wrote.

    Returns:
        the network in evaluation mode on the CPU, and the checkpoint's header.

    Raises:
        InputError: unreadable, not one of ours, or its weights do not fit its architecture.
    """
    tensors, header = load_tensors(path)
    if "architecture" not in header:
        raise InputError(
            f"checkpoint {path} has no header of this project. A released or foreign one is "
            "brought in by `python -m workflow_scripts.import_weights`"
        )
    with complete_header(path):
        network = build_network(header["architecture"], device="meta")
    load_strict(network, tensors, str(path))
    return network, header


@contextmanager
def complete_header(path: Path) -> Iterator[None]:
    """Say it for people where a checkpoint's header lacks something, or holds something else.

    Args:
        path: of the checkpoint.

    Raises:
        InputError: in place of what is raised by whoever reads the header.
    """
    try:
        yield
    except InputError as error:
        raise InputError(f"checkpoint {path}: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"the key {error} is missing" if isinstance(error, KeyError) else str(error)
        raise InputError(
            f"checkpoint {path}: its header does not say all that is needed ({reason}). It is of "
            "another version, or was changed; make or copy it again"
        ) from None


def load_strict(module: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Load tensors that must fit exactly.

    Args:
        module: gets the weights; on the device `meta`, the tensors themselves and no copies.
        tensors: by the module's names.
        source: what messages call them.

    Raises:
        InputError: a name is missing or unknown, or a shape differs; nothing has been loaded.
    """
    report = compare_keys(module, tensors)
    if report.missing or report.extra or report.reshaped:
        raise InputError(f"{source} does not fit this network:\n  {report}")
    weights = module.state_dict()
    without_data = any(weight.is_meta for weight in weights.values())
    fitting = {name: tensor.to(weights[name].dtype) for name, tensor in tensors.items()}
    module.load_state_dict(fitting, assign=without_data)


def import_foreign(network: ScanNetwork, path: Path, kind: str) -> KeyReport:
    """Bring a foreign checkpoint into a network.

    Args:
        network: gets the weights; what the checkpoint does not have stays.
        path: see `storage.weights.load_foreign`.
        kind: `scan` (SCAN.pth, everything), `mask2former` (what it shares with Mask2Former),
            `finetuned_clip` (CS_CLIP.pt, or what open_clip saved), `backbone` (ImageNet's Swin);
            of this project `clip`, `segmenter` or `model` (everything).

    Returns:
        what was loaded, and which weights stayed as they were.

    Raises:
        InputError: unreadable, or it does not fit; the network is unchanged.
    """
    if kind not in KINDS:
        raise InputError(f"kind of checkpoint '{kind}': expected {', '.join(KINDS)}")
    tensors, strangers = _by_our_names(path, kind)
    report = compare_keys(network, tensors)
    lacking = _lacking(report.missing, KINDS[kind][1], kind)
    extra = (*strangers, *report.extra)
    _refuse(KeyReport(report.loaded, tuple(lacking), extra, report.reshaped), path, kind)
    with torch.no_grad():
        network.load_state_dict(tensors, strict=False)
    _log.info("%s: %d tensors loaded, %d kept", path, report.loaded, len(report.missing))
    return report


def stage_weights(
    stage: str, path: Path, kind: str, architecture: Mapping[str, Any]
) -> dict[str, Tensor]:
    """The weights of one stage of the workflow, from a checkpoint that may hold more.

    Args:
        stage: `clip` (before fine-tuning), `segmenter`, or `finetuned_clip`.
        path: of the checkpoint.
        kind: see `import_foreign`.
        architecture: see `build_network`; for a CLIP `clip` and `clip_weights` alone.

    Returns:
        float32 tensors by the names of the file that the stage writes.

    Raises:
        InputError: unreadable, or it does not fit.
    """
    if stage == "segmenter":
        module: nn.Module = build_network(architecture, device="meta")
    else:
        with torch.device("meta"):
            module = build_clip(architecture["clip"], architecture.get("clip_weights"))
    tensors, strangers = _by_our_names(path, kind)
    clip = {n.removeprefix("clip."): t for n, t in tensors.items() if n.startswith("clip.")}
    if stage == "clip":
        # The frozen tower, where the file has one; a fine-tuned CLIP's text tower is that of CLIP.
        original = "original_clip."
        clip |= {
            f"visual.{n.removeprefix(original)}": t
            for n, t in tensors.items()
            if n.startswith(original)
        }
    of_clip = ("clip.", "original_clip.")
    segmenter = {n: t for n, t in tensors.items() if not n.startswith(of_clip)}
    chosen = segmenter if stage == "segmenter" else clip
    report = compare_keys(module, chosen)
    missing = [n for n in report.missing if stage != "segmenter" or not n.startswith(of_clip)]
    extra = (*strangers, *report.extra)
    _refuse(KeyReport(report.loaded, tuple(missing), extra, report.reshaped), path, kind)
    return {name: tensor.float() for name, tensor in chosen.items()}


def start_from(
    network: ScanNetwork, path: Path, kind: str, architecture: Mapping[str, Any]
) -> None:
    """Put a checkpoint's segmenter into a network that is to be trained, and leave its CLIPs.

    Args:
        kind: `mask2former` (what it shares with Mask2Former), `scan`, `segmenter` or `model`.
        architecture: of the network.

    Raises:
        InputError: unreadable, or it does not fit; the network is unchanged.
    """
    if kind == "mask2former":
        import_foreign(network, path, kind)
    else:
        tensors = stage_weights("segmenter", path, kind, architecture)
        network.load_state_dict(tensors, strict=False)


def _by_our_names(path: Path, kind: str) -> tuple[dict[str, Tensor], list[str]]:
    """Tensors by our names, and the names that are unknown and that the kind does not allow."""
    rules, _, ignorable = KINDS[kind]
    tensors = load_foreign(path)
    if rules is None:
        return tensors, []
    if kind == "finetuned_clip" and not any(name.startswith("clip_model.") for name in tensors):
        rules = CLIP  # as open_clip itself saves it
    ours, unknown = to_ours(tensors, rules)
    return ours, [name for name in unknown if not name.startswith(ignorable or ("\0",))]


def _refuse(report: KeyReport, path: Path, kind: str) -> None:
    if report.missing or report.extra or report.reshaped:
        raise InputError(
            f"{path} is no '{kind}' checkpoint for this network:\n  {report}\n"
            f"Expected {WEIGHTS_HOLD.get(kind, kind)}. Check the kind, and the recipe: its "
            "architecture must be that of the file."
        )


def _lacking(missing: Sequence[str], required: tuple[str, ...], kind: str) -> list[str]:
    lacking = [name for name in missing if name.startswith(required)]
    if kind == "finetuned_clip":
        # A fine-tuned CLIP may come without the frozen tower that it was trained beside.
        return [name for name in lacking if not name.startswith("original_clip.")]
    return lacking
