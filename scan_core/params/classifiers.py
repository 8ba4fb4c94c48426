"""The one list of classifiers: what gives the proposals their classes."""

CHANCE = "chance"
# Key in files -> name in tables: each of the two classifiers alone, both together (the model as a
# whole), and a random class for each proposal.
CLASSIFIERS = {
    "in_vocabulary": "in-vocabulary only",
    "clip_only": "CLIP only",
    "combined": "combined",
    CHANCE: "chance",
}
