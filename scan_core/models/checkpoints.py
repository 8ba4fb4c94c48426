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
from scan_core.models.released_names import (
    BACKBONE,
    FINETUNED_CLIP,
    PROPOSAL_NETWORK,
    SCAN,
    Rules,
    to_ours,
)
from scan_core.models.scan import ScanNetwork
from scan_core.storage.weights import load_foreign, load_tensors, save_tensors

_log = logging.getLogger(__name__)
_SHOWN = 8

# Kind of foreign checkpoint -> its names, which of our weights it has to bring, and the
# beginnings of the names that it may hold besides, which have no place in our network.
KINDS: dict[str, tuple[Rules, tuple[str, ...], tuple[str, ...]]] = {
    "scan": (SCAN, ("",), ()),
    "mask2former": (
        PROPOSAL_NETWORK,
        ("proposal_network.backbone.", "proposal_network.pixel_decoder."),
        ("sem_seg_head.predictor.class_embed.",),
    ),
    "finetuned_clip": (FINETUNED_CLIP, ("clip.",), ()),
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
            "brought in by `python -m workflow_scripts.import_released_checkpoint`"
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
        path: see `checkpoint_io.load_foreign`.
        kind: `scan` (SCAN.pth, everything), `mask2former` (what it shares with Mask2Former),
            `finetuned_clip` (CS_CLIP.pt) or `backbone` (ImageNet's Swin).

    Returns:
        what was loaded, and which weights stayed as they were.

    Raises:
        InputError: unreadable, or it does not fit; the network is unchanged.
    """
    if kind not in KINDS:
        raise InputError(f"kind of checkpoint '{kind}': expected {', '.join(KINDS)}")
    rules, required, ignorable = KINDS[kind]
    tensors, unknown = to_ours(load_foreign(path), rules)
    strangers = [name for name in unknown if not name.startswith(ignorable or ("\0",))]
    report = compare_keys(network, tensors)
    lacking = _lacking(report.missing, required, kind)
    refused = KeyReport(report.loaded, tuple(lacking), (*strangers, *report.extra), report.reshaped)
    if refused.missing or refused.extra or refused.reshaped:
        raise InputError(
            f"{path} is no '{kind}' checkpoint for this network:\n  {refused}\n"
            "Check the kind, and the recipe that the network was built from."
        )
    with torch.no_grad():
        network.load_state_dict(tensors, strict=False)
    _log.info("%s: %d tensors loaded, %d kept", path, report.loaded, len(report.missing))
    return report


def _lacking(missing: Sequence[str], required: tuple[str, ...], kind: str) -> list[str]:
    lacking = [name for name in missing if name.startswith(required)]
    if kind == "finetuned_clip":
        # A fine-tuned CLIP may come without the frozen tower that it was trained beside.
        return [name for name in lacking if not name.startswith("original_clip.")]
    return lacking
