"""Weights that come with the package: small, in half precision, each with its card.

They stand in the miniature world where the paper's downloaded ones stand. Of the 49,408 rows of a
token embedding only those are kept whose tokens a training has read; the others are zero, so all
words that the model has never read are one and the same to it.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scan_core.errors import InputError
from scan_core.storage.weights import load_tensors, save_tensors

# They stand beside this module. The second has never seen a masked picture.
PACKAGED = ("mini_clip", "mini_clip_pictures")
_EMBEDDING = "token_embedding.weight"
_ROWS, _VALUES = "token_embedding.rows", "token_embedding.values"


def packaged_file(name: str, key: str) -> Path:
    """The file of packaged weights.

    Args:
        name: such as `mini_clip`.
        key: of the recipe that asks for it, for the message.

    Raises:
        InputError: there are none of that name.
    """
    if name not in PACKAGED:
        raise InputError(
            f"{key}: no weights '{name}' come with the package; there are {', '.join(PACKAGED)}"
        )
    return Path(__file__).with_name(f"{name}.safetensors")


def save_packaged(
    path: Path,
    tensors: Mapping[str, Tensor],
    header: Mapping[str, Any],
    tokens: Iterable[int] | None = None,
) -> None:
    """Write weights as small as they can be.

    Args:
        path: the file.
        tensors: by name.
        header: what is to be known of them.
        tokens: whose rows of the token embedding are kept; None: there is no token embedding.
    """
    kept = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in tensors.items()
    }
    if tokens is not None:
        embedding = kept.pop(_EMBEDDING)
        rows = torch.tensor(sorted(tokens))
        kept[_ROWS], kept[_VALUES] = rows, embedding[rows]
        header = {**header, "vocabulary": len(embedding)}
    save_tensors(path, kept, header)


def load_packaged(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read them.

    Args:
        path: from `packaged_file`.

    Returns:
        tensors by name, in single precision, and the header.
    """
    packed, header = load_tensors(path)
    tensors = {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in packed.items()
    }
    if _ROWS in tensors:
        values = tensors.pop(_VALUES)
        embedding = values.new_zeros(header["vocabulary"], values.shape[1])
        embedding[tensors.pop(_ROWS)] = values
        tensors[_EMBEDDING] = embedding
    return tensors, header
