"""Weights that come with the package fit the miniature world and the recipe, as their card says."""

import pytest
import torch
from project import ROOT

from scan_core.errors import InputError
from scan_core.models.checkpoints import load_strict
from scan_core.models.clip import build_clip, tokenizer_for
from scan_core.models.packaged.files import PACKAGED, load_packaged, packaged_file, save_packaged
from scan_core.models.text_features import TextEncoder
from scan_core.params.reading import read_params, validate
from scan_core.params.schema.clip import ClipArchitecture
from scan_core.training.packaged_clip import tokens_of_the_world, zero_shot_accuracy
from scan_core.vocabulary.classes import prompt_templates


@pytest.fixture(scope="module", params=PACKAGED)
def packaged(request):
    """A packaged CLIP, its tokenizer, the header of its file, and its name."""
    tensors, header = load_packaged(packaged_file(request.param, "clip.source"))
    clip = build_clip(header["clip"]["architecture"])
    load_strict(clip, tensors, request.param)
    return clip, tokenizer_for(header["clip"]["architecture"]), header, request.param


def test_it_names_fresh_segments_as_its_card_says(packaged):
    """It breaks once the world is drawn otherwise than when this CLIP was trained."""
    clip, tokenizer, header, name = packaged
    found = zero_shot_accuracy(clip, tokenizer, 400)
    for kind, share in found.items():
        assert share == pytest.approx(header["accuracy"][kind], abs=0.06), kind
    card = packaged_file(name, "").with_suffix(".md").read_text()
    for kind in found:
        assert f"{header['accuracy'][kind]:.1%}" in card
    # Chance is below 8 %; only one of them has seen masks.
    assert min(found.values()) > (0.7 if name == "mini_clip" else 0.4)


def test_it_was_trained_as_the_recipe_says(packaged):
    """`clip.source: train` in its place is the same training, with the recipe's seed."""
    recipes = validate(read_params(ROOT / "params.yaml")).recipes.values()
    clip = next(r.clip for r in recipes if r.clip.source == f"packaged:{packaged[3]}")
    assert isinstance(clip.architecture, ClipArchitecture)
    assert packaged[2]["clip"]["architecture"] == clip.architecture.model_dump()
    assert packaged[2]["clip"]["pretraining"] == clip.pretraining.model_dump()


def test_it_knows_every_word_of_the_world_and_no_other(packaged):
    clip, tokenizer, *_ = packaged
    known = clip.token_embedding.weight.abs().sum(dim=1) > 0
    assert set(known.nonzero()[:, 0].tolist()) == tokens_of_the_world(tokenizer)
    unknown = TextEncoder(clip, tokenizer, prompt_templates("single"))(["giraffe", "zebra"])
    assert torch.equal(unknown[0], unknown[1])


def test_what_is_packed_comes_back_but_for_unread_words(tmp_path):
    tensors = {
        "token_embedding.weight": torch.randn(9, 4),
        "visual.proj": torch.randn(4, 4),
        "norm.num_batches_tracked": torch.tensor(70_000),
    }
    save_packaged(tmp_path / "small.safetensors", tensors, {"seed": 3}, tokens=[7, 1])
    again, header = load_packaged(tmp_path / "small.safetensors")
    assert header["seed"] == 3
    assert again["norm.num_batches_tracked"] == 70_000
    torch.testing.assert_close(again["visual.proj"], tensors["visual.proj"], atol=2e-3, rtol=1e-3)
    embedding = again["token_embedding.weight"]
    read = torch.tensor([1, 7])
    torch.testing.assert_close(
        embedding[read], tensors["token_embedding.weight"][read], atol=2e-3, rtol=1e-3
    )
    assert embedding.abs().sum(dim=1).nonzero()[:, 0].tolist() == [1, 7]


def test_an_unknown_name_is_refused():
    with pytest.raises(InputError, match=r"clip.source: no weights 'mini_klip'.*mini_clip"):
        packaged_file("mini_klip", "clip.source")
