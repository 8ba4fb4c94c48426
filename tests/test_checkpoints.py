"""Checkpoints: released names both ways, at full size, and refusals that say what is wrong."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from parity_pack import (
    ARCHITECTURE,
    image,
    named_weights,
    released_constants,
    released_keys,
    tiny_network,
    to_theirs,
)
from PIL import Image
from project import ROOT

from scan_core.apps import segment
from scan_core.apps.model import ModelOptions
from scan_core.errors import InputError
from scan_core.models.build import build_network
from scan_core.models.checkpoints import import_foreign, load_network
from scan_core.models.released_names import FINETUNED_CLIP, PROPOSAL_NETWORK, SCAN
from scan_core.params.reading import read_params, validate
from scan_core.storage.weights import save_tensors


@pytest.fixture(scope="module")
def network():
    return tiny_network()


@pytest.fixture
def other():
    return build_network(ARCHITECTURE)


def _equal(first, second):
    ours, theirs = first.state_dict(), second.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[n], theirs[n]) for n in ours)


def _released(network):
    weights = to_theirs(network.state_dict(), SCAN)
    return {**weights, **released_constants(weights, 12, 0.1)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "size"),
    [("vitb16", "vitB"), pytest.param("vitl14", "vitL", marks=pytest.mark.long)],
)
def test_a_released_state_dict_of_full_size_round_trips(recipe, size, tmp_path):
    """Every name, shape and type, through a file, into the network and out again."""
    from scan_core.models.build import architecture_of

    described = validate(read_params(ROOT / "params.yaml")).recipes[recipe]
    network = build_network(architecture_of(described.segmenter, described.clip))
    blank = {
        name: torch.empty(shape, dtype=getattr(torch, dtype))
        for name, (shape, dtype) in released_keys(size).items()
    }
    constants = released_constants(blank, 171, 0.1)
    released = {**named_weights(blank), **constants}
    released["clip_adapter.clip_model.logit_scale"] = torch.tensor(4.6)
    path = tmp_path / "SCAN.pth"
    torch.save({"model": released, "iteration": 119_999}, path)
    report = import_foreign(network, path, "scan")
    path.unlink()
    assert not report.missing
    again = to_theirs(network.state_dict(), SCAN)
    again.update(released_constants(again, 171, 0.1))
    assert again.keys() == released.keys()
    for name, tensor in released.items():
        assert again[name].dtype == tensor.dtype, name
        assert torch.equal(again[name], tensor), name


def test_the_constants_of_the_release_are_made_again(network):
    released = _released(network)
    keys = released_keys("tiny")
    assert {
        n: (tuple(t.shape), str(t.dtype).removeprefix("torch.")) for n, t in released.items()
    } == keys


def test_our_own_checkpoint_keeps_weights_and_header(network, tmp_path):
    path = tmp_path / "model.safetensors"
    written = {"architecture": ARCHITECTURE, "recipe": "tiny", "seed": 3}
    save_tensors(path, network.state_dict(), written)
    loaded, header = load_network(path)
    assert _equal(network, loaded)
    # Built without drawing weights: what no file holds is there all the same.
    for ours, theirs in zip(network.buffers(), loaded.buffers(), strict=True):
        assert torch.equal(ours, theirs)
    for ours, theirs in zip(network.parameters(), loaded.parameters(), strict=True):
        assert ours.requires_grad == theirs.requires_grad
    assert header == written
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("metadata", [True, False])
@pytest.mark.parametrize("wrap", [None, "state_dict"])
def test_a_fine_tuned_clip_of_any_make_loads(network, other, tmp_path, prefix, metadata, wrap):
    state = {prefix + n: t for n, t in to_theirs(network.state_dict(), FINETUNED_CLIP).items()}
    if metadata:
        state = type(network.state_dict())(state)
        state._metadata = network.state_dict()._metadata
    torch.save({wrap: state, "epoch": 10} if wrap else state, tmp_path / "CS_CLIP.pt")
    report = import_foreign(other, tmp_path / "CS_CLIP.pt", "finetuned_clip")
    assert all(n.startswith(("proposal_", "semantic_", "no_object")) for n in report.missing)
    assert _equal(other.clip, network.clip)
    assert _equal(other.original_clip, network.original_clip)


def test_mask2former_brings_what_it_shares(network, other, tmp_path):
    """One layer fewer, a classifier in place of the embedding head, and the oldest spelling."""
    state = {
        n: t
        for n, t in to_theirs(network.state_dict(), PROPOSAL_NETWORK).items()
        if ".class_embed." not in n and "_layers.3." not in n
    }
    state["sem_seg_head.predictor.class_embed.weight"] = torch.zeros(81, 64)
    oldest = {
        n.replace("sem_seg_head.pixel_decoder.", "sem_seg_head."): t for n, t in state.items()
    }
    for number, spelling in enumerate((state, oldest)):
        torch.save({"model": spelling}, tmp_path / f"{number}.pth")
        report = import_foreign(other, tmp_path / f"{number}.pth", "mask2former")
        assert any(n.startswith("proposal_network.mask_decoder.layers.3.") for n in report.missing)
        assert _equal(other.proposal_network.backbone, network.proposal_network.backbone)
        assert _equal(other.proposal_network.pixel_decoder, network.proposal_network.pixel_decoder)


def test_an_imagenet_backbone_from_a_pickle(network, other, tmp_path):
    state = {
        n.removeprefix("backbone."): t.numpy()
        for n, t in to_theirs(network.state_dict(), PROPOSAL_NETWORK).items()
        if n.startswith("backbone.") and not n.startswith("backbone.norm")
    }
    state["head.weight"] = np.zeros((1000, 192), np.float32)
    state["layers.0.blocks.1.attn_mask"] = np.zeros((4, 25, 25), np.float32)
    _pickle({"model": state, "matching_heuristics": True}, tmp_path / "swin.pkl")
    import_foreign(other, tmp_path / "swin.pkl", "backbone")
    assert _equal(other.proposal_network.backbone.swin, network.proposal_network.backbone.swin)


def test_a_checkpoint_that_does_not_fit_is_refused_and_changes_nothing(network, other, tmp_path):
    before = {n: t.clone() for n, t in other.state_dict().items()}
    state = _released(network)
    del state["LFM.conv1.bias"]
    state["learnable_weight"] = torch.zeros(2)
    state["lora.weight"] = torch.zeros(2)
    torch.save(state, tmp_path / "SCAN.pth")
    with pytest.raises(InputError) as refusal:
        import_foreign(other, tmp_path / "SCAN.pth", "scan")
    message = str(refusal.value)
    assert "1 missing: semantic_integration.low_frequency.conv1.bias" in message
    assert "1 not known here: lora.weight" in message
    assert "semantic_integration.prior_scale: (2,), needed (1,)" in message
    assert all(torch.equal(before[n], t) for n, t in other.state_dict().items())


def _pickle(value, path):
    Path(path).write_bytes(pickle.dumps(value))


class _Attack:
    def __reduce__(self):
        return os.system, ("touch attacked",)


@pytest.mark.parametrize("name", ["evil.pth", "evil.pkl"])
def test_a_checkpoint_cannot_run_code(other, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    save = torch.save if name.endswith(".pth") else _pickle
    save({"model": _Attack()}, name)
    with pytest.raises(InputError, match=rf"{name} .*it asks for \w+\.system") as refusal:
        import_foreign(other, Path(name), "scan")
    message = str(refusal.value)
    assert message.isprintable(), "no colours of a terminal"
    assert "weights_only" not in message, "no advice to read it unsafely"
    assert not Path("attacked").exists()


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("gone.safetensors", None, "does not exist"),
        ("cut.pth", b"PK\x03\x04", "truncated"),
        ("odd.pkl", pickle.dumps([1, 2]), "no state dict"),
        ("empty.pkl", pickle.dumps({"model": {"iteration": 3}}), "no tensors"),
    ],
)
def test_unreadable_checkpoints(other, tmp_path, name, content, says):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=says) as refusal:
        import_foreign(other, tmp_path / name, "scan")
    assert name in str(refusal.value)


def test_a_foreign_file_is_no_checkpoint_of_ours(network, tmp_path):
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    with pytest.raises(InputError, match="no header of this project"):
        load_network(tmp_path / "a.safetensors")


def test_the_command_line_imports_what_segment_takes(tmp_path):
    """With a fine-tuned CLIP laid over a whole model, as the release is put together."""
    params = read_params(ROOT / "params.yaml")
    recipe = params["recipes"]["mini"]
    for part in ("backbone", "pixel_decoder", "mask_decoder", "semantic_integration"):
        recipe["segmenter"][part].update(ARCHITECTURE[part])
    recipe["clip"]["architecture"] = ARCHITECTURE["clip"]
    (tmp_path / "params.yaml").write_text(json.dumps(params))
    network = tiny_network(text_heads=False)
    torch.save({"model": _released(network)}, tmp_path / "SCAN.pth")
    finetuned = to_theirs(network.state_dict(), FINETUNED_CLIP)
    finetuned["clip_model.logit_scale"] = torch.tensor(3.0)
    torch.save(finetuned, tmp_path / "CS_CLIP.pt")
    run = subprocess.run(
        [
            *(sys.executable, "-m", "workflow_scripts.import_weights"),
            *("--params", tmp_path / "params.yaml", "--recipe", "mini"),
            "--checkpoint",
            *(f"scan:{tmp_path}/SCAN.pth", f"finetuned_clip:{tmp_path}/CS_CLIP.pt"),
            *("--output", tmp_path / "model.safetensors"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert "tensors fit" in run.stderr
    loaded, _ = load_network(tmp_path / "model.safetensors")
    assert float(loaded.clip.logit_scale) == 3.0
    assert _equal(loaded.proposal_network, network.proposal_network)
    Image.fromarray(image(3, 64, 80).transpose(1, 2, 0)).save(tmp_path / "photo.png")
    model = ModelOptions(
        tmp_path / "model.safetensors", params=tmp_path / "params.yaml", recipe="mini"
    )
    segment.segment((str(tmp_path / "photo.png"),), "sea, sand", tmp_path / "out", model=model)
    record = json.loads((tmp_path / "out/photo.json").read_text())
    assert record["settings"]["clip_weight"] == recipe["inference"]["clip_weight"]["default"]
    assert sum(found["area"] for found in record["segments"]) == 64 * 80
