"""The campaign's faults, a line each: promise, file, who reads it, how it is damaged, the end.

REFUSED: exit status 1, and one message that names the file. AGAIN: the very result that there is
without the fault.
"""

REFUSED, AGAIN = "refused", "made again"

# `flip` changes one bit, `cut` leaves the beginning, `page` puts HTML there; their seeds say where.
FLIP, CUT, EMPTY, NOISE, PAGE, FOLDER, MISSING = (
    "flip", "cut", "empty", "noise", "page", "folder", "missing",
)  # fmt: skip
SEEDS = {FLIP: 4}
COARSE = (CUT, EMPTY, NOISE, PAGE, FOLDER, MISSING)
ALL = (FLIP, *COARSE)
CONTENTS = (FLIP, CUT, EMPTY, NOISE, PAGE)

LABEL = "benchmark/labels/val/ADE_val_00000001.png"
IMAGE = "raw/ADEChallengeData2016/images/validation/ADE_val_00000001.jpg"
TEXT_CACHE = "text/cache.safetensors"
BEGUN = "begun/partial"
BEGUN_LABEL = f"{BEGUN}/labels/val/ADE_val_00000001.png"

# fmt: off
CASES = [
    ("label maps carry a digest", LABEL, "label", ALL, REFUSED),
    ("images carry a digest", IMAGE, "image", ALL, REFUSED),
    ("an index carries a digest", "benchmark/index.json", "label", ALL, REFUSED),
    ("an index carries a digest", "benchmark/index.json", "verify", ALL, REFUSED),
    ("label maps are verified", LABEL, "verify", COARSE, REFUSED),
    ("weights carry a digest", "model.safetensors", "weights", ALL, REFUSED),
    ("weights carry a digest", "model.safetensors", "copy", ALL, REFUSED),
    ("a checkpoint has checksums", "checkpoint.pt", "checkpoint", COARSE, REFUSED),
    ("a shard is read or named", "shard.npz", "merge", COARSE, REFUSED),
    ("an evaluation is read or named", "metrics.json", "evaluation", COARSE, REFUSED),
    ("a matrix is read or named", "confusion.npz", "confusion", COARSE, REFUSED),
    ("a record is read or named", "verification.json", "manifest", COARSE, REFUSED),
    ("an archive is read or named", "get/data.zip", "extract", COARSE, REFUSED),
    ("pairs are read or named", "pairs.jsonl", "pairs", (NOISE, PAGE, FOLDER, MISSING), REFUSED),
    ("a class list is read or named", "classes.json", "classes", COARSE, REFUSED),
    ("a begun conversion goes on", f"{BEGUN}/val.jsonl", "convert", CONTENTS, AGAIN),
    ("a begun conversion goes on", f"{BEGUN}/fingerprint", "convert", CONTENTS, AGAIN),
    ("a begun conversion goes on", BEGUN_LABEL, "convert", (EMPTY, CUT, MISSING), AGAIN),
    ("a begun download goes on", "get/begun.zip.part", "download", CONTENTS, AGAIN),
    ("a begun download goes on", "get/begun.zip.part.json", "download", CONTENTS, AGAIN),
    ("a damaged text cache is made again", TEXT_CACHE, "text", (FLIP, CUT, NOISE), AGAIN),
]
# fmt: on
