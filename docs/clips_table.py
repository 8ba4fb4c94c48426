"""The page of open_clip's models, `docs/clips.md`."""

import open_clip

from scan_core.params.clips import clip_models, described, unusable


def clips_page() -> str:
    """`docs/clips.md`: every model of open_clip, and whether it can be a recipe's CLIP."""
    usable, refused = [], []
    for name in clip_models():
        if reason := unusable(name):
            refused.append(f"| `{name}` | {reason} |")
            continue
        config = described(name)
        vision, text = config["vision_cfg"], config["text_cfg"]
        size, patch = vision["image_size"], vision["patch_size"]
        activation = "QuickGELU" if config.get("quick_gelu") else "GELU"
        activation = "that of EVA" if "timm_model_name" in vision else activation
        tags = [f"`{tag}`" for tag in open_clip.list_pretrained_tags_by_model(name)] or ["–"]
        usable.append(
            f"| `{name}` | {size} / {patch} | {vision['layers']} × {vision['width']} | "
            f"{text['layers']} × {text['width']} | {config['embed_dim']} | {activation} | "
            f"{', '.join(tags)} |"
        )
    return _PAGE.format(usable="\n".join(usable), refused="\n".join(refused))


_PAGE = """\
# CLIPs

A recipe's CLIP (`clip.architecture`) is one of open_clip's models by name. SCAN needs a plain
vision transformer with a [CLS] token – the contextual shift writes that token of the whole image
into crops, and semantic integration adds it as a prior – and CLIP's own text transformer and
tokenizer. This page is generated from the files of the installed open_clip (`make docs`).

In code, a tower is what a few functions of `scan_core/models/clip.py` need: tokens of patches
behind one [CLS] token, blocks between which tokens can be replaced, and a feature made of [CLS].
open_clip's vision transformer and timm's EVA have that; `scan_core/models/eva.py` shows how
another tower is added.

SigLIP, SigLIP 2 and PE-Core have no [CLS] token: a learned query pools the patches behind the last
block. A counterpart would pool the tokens of every block by the same query and write the result
into crops. But no block was trained to hold such a vector among its tokens, as every block was to
hold [CLS], so the shift would show the network something it has never seen; they are left out.

`clip.source: open_clip:<tag>` takes weights from open_clip's collection, whose table also says
whether the weights want QuickGELU, and the mean and standard deviation of the pixels:

```yaml
recipes:
  eva:
    extends: vitb16
    clip: {{architecture: EVA02-B-16, source: "open_clip:merged2b_s8b_b131k"}}
```

A tag that the model does not have is reported by the job `clip_weights`, not by `-n`. With
`clip.source: clip:<path>` the key `clip.pretrained` names the tag whose weights the file holds, or
from which they were fine-tuned: `openai` for OpenAI's own, which want QuickGELU.

## Models that can be used

Blocks × width of the towers; the activation is that of the architecture, where a tag does not say
otherwise.

| Model | Pixels / patch | Image tower | Text tower | Embedding | Activation | Tags |
| --- | --- | --- | --- | --- | --- | --- |
{usable}

## Models that cannot be used

`snakemake -n` refuses a recipe with one of these before anything is downloaded.

| Model | Why |
| --- | --- |
{refused}
"""
