"""Nouns of a caption, by a part-of-speech tagger that brings its own model (HanTa)."""

import re
from functools import cache
from typing import Any

_WORD = re.compile(r"[A-Za-z][A-Za-z'-]*|[.,;:!?]")
# Tags of the British National Corpus: common and proper nouns.
_NOUN_TAGS = ("NN", "NP")
# What speaks of the picture, not of what is in it.
_NOT_IN_THE_PICTURE = {"picture", "photo", "photograph", "image", "background", "front", "view"}


@cache
def _tagger() -> Any:
    from HanTa.HanoverTagger import HanoverTagger

    return HanoverTagger("morphmodel_en.pgz")


def caption_nouns(caption: str) -> list[str]:
    """The nouns of a caption, in its order, each once, in lower case.

    Nouns that follow each other are one ("brick wall", "stop sign"); plurals are reduced to
    their singular.

    Args:
        caption: an English sentence; or, if it ends with a line break, names, one a line.
    """
    if caption.endswith("\n"):
        return list(dict.fromkeys(caption.splitlines()))
    nouns: list[str] = []
    run: list[str] = []
    for word, lemma, tag in [*_tagger().tag_sent(_WORD.findall(caption)), ("", "", "END")]:
        if tag.startswith(_NOUN_TAGS):
            singular = _singular(word, lemma) if tag == "NN2" else word
            run.append(singular.lower())
        elif run:
            noun = " ".join(run)
            if noun not in _NOT_IN_THE_PICTURE and noun not in nouns:
                nouns.append(noun)
            run = []
    return nouns


def _singular(word: str, lemma: str) -> str:
    """The lemma, unless the tagger cut off more than a plural ("giraff" of "giraffes")."""
    if lemma and not word.lower().startswith(lemma.lower()):
        return lemma  # irregular: "men", "man"
    for ending, replacement in (("ies", "y"), ("sses", "ss"), ("shes", "sh"), ("ches", "ch")):
        if word.lower().endswith(ending):
            return word[: -len(ending)] + replacement
    return word[:-1] if word.lower().endswith("s") else lemma or word
