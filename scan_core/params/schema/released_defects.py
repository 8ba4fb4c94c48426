"""`released_defects`: what the released implementation does by mistake."""

from scan_core.params.schema.fields import Block


class ReleasedDefects(Block):
    """Defects of the released implementation: each is repaired unless its switch is `true`.

    `faithful: true` sets them all; `docs/released_behaviour.md` says what each does.
    """

    fail_without_masks: bool = False
    """An image of which no mask exceeds the threshold is an error, not a result without CLIP."""
    first_image_context: bool = False
    """Crops of all images of a batch get the first image's [CLS] token."""
    global_random_draws: bool = False
    """Contextual shift draws from Python's global random state, which nothing seeds."""
    nearest_padded_view: bool = False
    """CLIP sees the whole batch's images with their padding, shrunk by taking nearest pixels."""
    rejected_masks_score_one: bool = False
    """A mask that CLIP was not shown has CLIP's full score for every class."""
    stale_text_features: bool = False
    """Text features outlive a change of the text tower's weights."""
    zero_weight_is_clip_only: bool = False
    """`clip_weight: 0` means CLIP alone, the opposite of its limit."""
    discard_last_auxiliary_loss: bool = False
    """The losses of the last auxiliary output are computed and then not used."""
