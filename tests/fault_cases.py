"""The campaign's faults, a line each: promise, file, who reads it, how it is damaged, the end.

REFUSED: exit status 1, and one message that names the file. AGAIN: the very result that there is
without the fault. NEVER_OTHER: one of the two, for files with parts that nothing depends on.
"""

REFUSED, AGAIN, NEVER_OTHER = "refused", "made again", "refused, or the same"

# `flip` changes one bit, `cut` leaves the beginning, `page` puts HTML there; their seeds say where.
FLIP, CUT, EMPTY, NOISE, PAGE, FOLDER, MISSING = (
    "flip", "cut", "empty", "noise", "page", "folder", "missing",
)  # fmt: skip
SEEDS = {FLIP: 12}
COARSE = (CUT, EMPTY, NOISE, PAGE, FOLDER, MISSING)
ALL = (FLIP, *COARSE)
CONTENTS = (FLIP, CUT, EMPTY, NOISE, PAGE)

LABEL = "benchmark/labels/val/ADE_val_00000001.png"
IMAGE = "raw/ADEChallengeData2016/images/validation/ADE_val_00000001.jpg"
COUNTED = "evaluated/44136fa355b3678a/a.npz"  # of an empty identity
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
    ("counts have checksums", "shard.npz", "merge", (FLIP,), NEVER_OTHER),
    ("counts have checksums", "confusion.npz", "confusion", (FLIP,), NEVER_OTHER),
    ("damaged counts are evaluated again", COUNTED, "counted", CONTENTS, AGAIN),
    ("an evaluation has a digest", "metrics.json", "evaluation", ALL, REFUSED),
    ("a matrix is read or named", "confusion.npz", "confusion", COARSE, REFUSED),
    ("a record has a digest", "verification.json", "manifest", ALL, REFUSED),
    ("a manifest has a digest", "manifest.json", "uses", (FLIP,), NEVER_OTHER),
    ("a manifest has a digest", "manifest.json", "uses", COARSE, REFUSED),
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
