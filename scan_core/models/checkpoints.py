"""Checkpoints: our own, and foreign ones brought into our network, with a report of the keys."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
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
from scan_core.storage.weights import load_foreign, load_tensors

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
        reshaped: tensors of another shape: name, the tensor's shape, the shape that is needed.
    """

    loaded: int
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    reshaped: tuple[str, ...]

    @property
    def fits(self) -> bool:
        """Whether there is nothing but tensors that fit, for all weights."""
        return not (self.missing or self.extra or self.reshaped)

    def __str__(self) -> str:
        """A few lines for a person."""
        lines = [f"{self.loaded} tensors fit"]
        for title, names in (
            ("missing", self.missing),
            ("not known here", self.extra),
            ("of another shape", self.reshaped),
        ):
            if names:
                lines.append(f"{len(names)} {title}: {'; '.join(names[:_SHOWN])}")
                lines[-1] += "; ..." if len(names) > _SHOWN else ""
        return "\n  ".join(lines)


def compare_keys(module: nn.Module, tensors: Mapping[str, Tensor]) -> KeyReport:
    """How `tensors` fits `module`, by names and shapes, without loading anything."""
    weights = module.state_dict()
    common = weights.keys() & tensors.keys()
    reshaped = tuple(
        f"{name}: {tuple(tensors[name].shape)}, needed {tuple(weight.shape)}"
        for name, weight in weights.items()
        if name in common and tensors[name].shape != weight.shape
    )
    return KeyReport(
        loaded=len(common) - len(reshaped),
        missing=tuple(name for name in weights if name not in common),
        extra=tuple(name for name in tensors if name not in common),
        reshaped=reshaped,
    )


def load_network(path: Path) -> tuple[ScanNetwork, dict[str, Any]]:
    """Read a whole network of this project.

    Args:
        path: of its weights, whose header holds `architecture`, from `build.architecture_of`.

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
    if not report.fits:
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
    tensors, strangers = _by_our_names(path, kind)
    report = _compared(network, tensors, strangers, KINDS[kind][1], path, kind)
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
    tensors, strangers = _by_our_names(path, kind)
    if stage == "segmenter":
        module: nn.Module = build_network(architecture, device="meta")
        required = KINDS["segmenter"][1]
        of_clip = ("clip.", "original_clip.")
        chosen = {n: t for n, t in tensors.items() if not n.startswith(of_clip)}
    else:
        with torch.device("meta"):
            module = build_clip(architecture["clip"], architecture.get("clip_weights"))
        required = ("",)
        towers = {"clip.": ""}
        if stage == "clip":
            # The frozen tower, where the file has one; a fine-tuned CLIP's text tower is CLIP's.
            towers["original_clip."] = "visual."
        chosen = {
            ours + name.removeprefix(theirs): tensor
            for theirs, ours in towers.items()
            for name, tensor in tensors.items()
            if name.startswith(theirs)
        }
    _compared(module, chosen, strangers, required, path, kind)
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


def _compared(
    module: nn.Module,
    tensors: Mapping[str, Tensor],
    strangers: list[str],
    required: tuple[str, ...],
    path: Path,
    kind: str,
) -> KeyReport:
    """How tensors fit; it is an error if one is strange, or a required weight is missing."""
    report = compare_keys(module, tensors)
    missing = tuple(name for name in report.missing if name.startswith(required))
    wrong = replace(report, missing=missing, extra=(*strangers, *report.extra))
    if not wrong.fits:
        raise InputError(
            f"{path} is no '{kind}' checkpoint for this network:\n  {wrong}\n"
            f"Expected {WEIGHTS_HOLD.get(kind, kind)}. Check the kind, and the recipe: its "
            "architecture must be that of the file."
        )
    return report
