"""Class names as text features, kept for as long as they are true.

Features are kept in memory and, if a folder is given, in a file there whose name is a digest of all
that they depend on: CLIP's architecture, the text tower's weights, and the templates. Every name is
encoded by itself, with its templates as one batch, so its feature is the same to the last bit
whatever other names are asked for.
"""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from open_clip import CLIP
from torch import Tensor
from torch.nn import functional as F

from scan_core.errors import InputError
from scan_core.models.clip import Tokenizer, encode_texts, text_weights
from scan_core.models.cpu_linear import convolutional_linear
from scan_core.storage.files import json_digest
from scan_core.storage.weights import load_tensors, save_tensors

_log = logging.getLogger(__name__)
# Names whose features are remembered, some 60 MB; then those that were asked for longest ago go.
MOST_KNOWN = 20_000


class TextEncoder:
    """Encode class names as the released model does, and remember the result.

    Args:
        clip: the model whose text tower is used. It may change its weights at any time.
        tokenizer: belongs to it.
        templates: sentences with `{}` for the name.
        folder: where features are kept for later processes; None: in memory only.
        architecture: with a folder, what `clip` was built from, as JSON: activation and number of
            heads do not show in the weights.
        stale: repeat the released defect that features outlive a change of the weights.
    """

    def __init__(
        self,
        clip: CLIP,
        tokenizer: Tokenizer,
        templates: Sequence[str],
        folder: Path | None = None,
        architecture: Any = None,
        stale: bool = False,
    ) -> None:
        self.clip, self.tokenizer, self.templates = clip, tokenizer, tuple(templates)
        self.folder, self.architecture, self.stale = folder, architecture, stale
        self._version: object = None
        self._file: Path | None = None
        self._known: dict[str, Tensor] = {}

    @torch.no_grad()
    def __call__(self, names: Sequence[str]) -> Tensor:
        """Text features of classes.

        For each template: encode, normalise; then mean over the templates, normalise. Names
        are stripped and used as they are ("building, edifice" is one noun).

        Args:
            names: K class names.

        Returns:
            (K, E) float32 of unit length, on the device of the model.

        Raises:
            InputError: no name, an empty one, one too long for the text tower, or two that are
                the same to its tokenizer.
        """
        stripped = [name.strip() for name in names]
        if not stripped or not all(stripped):
            raise InputError("class names: expected at least one name, and none of them empty")
        self._forget_if_changed()
        new = [name for name in dict.fromkeys(stripped) if name not in self._known]
        # Also of names that are known: they may have come one by one.
        self._check_different(stripped)
        if new:
            with convolutional_linear(self.clip):
                self._known.update((name, self._encode(name)) for name in new)
        for name in stripped:  # to the end
            self._known[name] = self._known.pop(name)
        for name in list(self._known)[: -max(MOST_KNOWN, len(stripped))]:
            del self._known[name]
        if new and self._file is not None:
            save_tensors(self._file, self._known, {})
        device = self.clip.text_projection.device
        return torch.stack([self._known[name] for name in stripped]).to(device)

    def _check_different(self, names: Sequence[str]) -> None:
        known: dict[bytes, str] = {}
        for name, tokens in zip(names, self.tokenizer(list(names)), strict=True):
            other = known.setdefault(tokens.numpy().tobytes(), name)
            if other != name:
                raise InputError(
                    f"class names '{other}' and '{name}' are the same to CLIP's tokenizer; take "
                    "one of them out"
                )

    def _encode(self, name: str) -> Tensor:
        tokens = self.tokenizer([template.format(name) for template in self.templates])
        if tokens[:, -1].any():
            raise InputError(
                f"class name '{name}' is too long: with its prompt it has more than the "
                f"{tokens.shape[1]} tokens that this CLIP reads; shorten it, or leave it out"
            )
        features = F.normalize(encode_texts(self.clip, tokens.to(self.clip.text_projection.device)))
        return F.normalize(features.mean(dim=0), dim=0).cpu()

    def _forget_if_changed(self) -> None:
        if self.stale and self._version is not None:
            return
        version = self._weights_version()
        if version == self._version:
            return
        self._version, self._known = version, {}
        if self.folder is None:
            return
        self._file = self.folder / f"{self._digest()}.safetensors"
        if self._file.is_file():
            try:
                self._known, _ = load_tensors(self._file)
            except InputError as error:  # a cache is made again
                _log.warning("%s Its text features are made again.", error)
                return
            _log.info("%d text features from %s", len(self._known), self._file)

    def _weights_version(self) -> object:
        """Something that differs once a weight has changed."""
        weights = list(text_weights(self.clip))
        if any(weight.is_inference() for weight in weights):
            return self._digest()  # such tensors do not count their changes
        # An in-place change raises a tensor's version; a replaced tensor lies elsewhere.
        return [(weight.data_ptr(), weight._version) for weight in weights]

    def _digest(self) -> str:
        """What features depend on besides the name, as a file name."""
        state = hashlib.sha256(json_digest([self.architecture, self.templates]).encode())
        for parameter in text_weights(self.clip):
            array = parameter.detach().cpu().contiguous()
            state.update(str((array.dtype, tuple(array.shape))).encode())
            state.update(array.view(torch.uint8).numpy().data if array.ndim else b"")
        return state.hexdigest()[:16]
