"""Numbers of README and `docs/results.md` follow from `docs/results_mini/*.csv`."""

import re
from pathlib import Path

import pandas as pd
import pytest

from scan_core.reporting.grids import load_grid

DOCS = Path(__file__).parents[1] / "docs"
PAGE = re.sub(r"\s+", " ", (DOCS / "results.md").read_text(encoding="utf-8").replace("**", ""))
MIXED = ["mini_ade_87", "mini_context_50", "mini_ade_36", "mini_context_24"]
ALL = [*MIXED, "mini_voc_10", "mini_voc_10b"]

# Grids on `mini_ade_36` alone -> key, the recipe's value, the others.
ONE = {
    "mini_low_frequency": (
        "sigmas",
        "[9, 7, 3]",
        ["[3, 7, 9]", "[9, 9, 9]", "[7, 7, 7]", "[3, 3, 3]"],
    ),
    "mini_clip_layers": ("clip_layers", "[2, 3, 4]", ["[1, 2, 3]", "[4, 4, 4]"]),
    "mini_released_behaviour": ("faithful", "false", ["true"]),
}


def runs(grid: str, metric: str = "miou", **values: str) -> pd.DataFrame:
    """In %, a row for each seed, a column for each benchmark; keys by their last word."""
    found = load_grid(DOCS / f"results_mini/{grid}.csv")
    rows = found.rows
    for key in found.keys:
        if (value := values.get(key.rpartition(".")[2])) is not None:
            rows = rows[rows[key] == value]
    return 100 * rows.pivot(index="seed", columns="benchmark", values=metric)


def weight(value: str, metric: str = "miou") -> pd.DataFrame:
    return runs("ensemble_weight", metric, clip_weight=value)


def text(value: float, sign: str = "") -> str:
    rounded = f"{round(value, 1) + 0.0:{sign}.1f}".replace("-", "−")
    return {"+0.0": "0.0"}.get(rounded, rounded)


def estimate(values: pd.Series, sign: str = "") -> str:
    return f"{text(values.mean(), sign)} ± {text(values.sem())}"


def row(name: str, cells) -> str:
    return f"| {name} | {' | '.join(cells)} |"


def statements():
    """What must stand on the page."""
    own, clip = runs("repeated"), weight("1")
    classifiers = {
        "in-vocabulary only": lambda metric="miou": weight("0", metric),
        "CLIP only": lambda metric="miou": weight("1", metric),
        "combined": lambda metric="miou": runs("repeated", metric),
    }
    for name, of in classifiers.items():
        yield row(name, map(text, of().loc[0, ALL]))
        yield row(name, map(text, of("miou_unseen").loc[0, ALL[:5]]))
        yield row(name, (estimate(of()[b]) for b in ALL))
    yield row("combined, SG-IoU", map(text, runs("repeated", "sg_iou").loc[0, ALL]))
    gain = own - clip
    paired = [estimate(gain[b], "+") for b in ALL]
    yield row("combined − CLIP only, paired", [*paired[:-1], "0"])
    limits = (f"{text(own[b].min())}, {text(own[b].max())}" for b in ALL)
    yield row("combined, lowest and highest", limits)
    unseen = runs("repeated", "miou_unseen").mean()
    yield row("combined, unseen classes", [*map(text, unseen[ALL[:5]]), "–"])
    for benchmark, word in {"mini_context_24": "adds", "mini_ade_87": "costs"}.items():
        points = abs(gain.loc[0, benchmark])
        yield f"{word} {text(points)} points on `{benchmark}`"
    yield f"and {text(gain.loc[0, 'mini_context_50'])} on `mini_context_50`"
    yield f"and {text(-gain.loc[0, 'mini_voc_10'])} on `mini_voc_10`"
    one_weight = own - weight("0.9")
    yield "by " + ", ".join(estimate(one_weight[b], "+") for b in ALL)

    components = {
        (shift, integration): runs("components", contextual_shift=shift, enabled=integration)[MIXED]
        for shift in ("true", "false")
        for integration in ("true", "false")
    }
    for name, more, less in [
        ("semantic integration, with the shift", ("true", "true"), ("true", "false")),
        ("semantic integration, without the shift", ("false", "true"), ("false", "false")),
        ("contextual shift, with integration", ("true", "true"), ("false", "true")),
        ("contextual shift, without integration", ("true", "false"), ("false", "false")),
    ]:
        change = components[more] - components[less]
        cells = [estimate(change[b], "+") for b in MIXED]
        yield row(name, [*cells, estimate(change.mean(axis=1), "+")])
    each = (components["true", "true"] - components["true", "false"]).mean(axis=1)
    yield f"by {text(each[0])}, {text(each[1])} and {text(each[2])} points"

    def change(grid: str, key: str, value: str, base: str, benchmarks=MIXED) -> pd.Series:
        more, less = (runs(grid, **{key: v}) for v in (value, base))
        return (more - less).filter(benchmarks).mean(axis=1)

    ratio = ("replace_ratio", "replace_ratio")
    half, whole = change(*ratio, "0.5", "0"), change(*ratio, "1", "0")
    six = change(*ratio, "1", "0", ALL).mean()
    yield (
        f"{estimate(half)} at 0.5, {estimate(whole)} at 1, where the mean over all six is "
        f"{text(-six)} lower"
    )
    imagenet, single = (change("prompts", "prompts", v, "vild") for v in ("imagenet", "single"))
    yield f"ImageNet's templates {estimate(imagenet, '+')}, one template {estimate(single, '+')}"
    yield row("`repeated`", [f"{estimate(own[MIXED].mean(axis=1))}: the variation between seeds"])
    for grid, (key, base, others) in ONE.items():
        of = runs(grid, **{key: base})["mini_ade_36"]
        changes = [(v, estimate(change(grid, key, v, base), "+")) for v in others]
        if grid == "mini_released_behaviour":
            yield f"all defects of the release together: {changes[0][1]}"
        else:
            parts = [f"{base} {estimate(of)}", *(f"{v} {c}" for v, c in changes)]
            yield "; ".join(parts)


def test_readme_says_what_the_tables_say():
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8").replace("**", "")
    for name, of in (("in-vocabulary only", weight("0")), ("CLIP only", weight("1"))):
        assert row(name, map(text, of.loc[0, MIXED])) in readme
    own = runs("repeated")
    assert row("combined", map(text, own.loc[0, MIXED])) in readme
    ranges = [f"{text(own[b].min())} to {text(own[b].max())}" for b in MIXED]
    assert f"{', '.join(ranges[:3])} and {ranges[3]}" in re.sub(r"\s+", " ", readme)


def test_the_page_shows_the_run_with_the_present_code():
    cells = pd.read_csv(DOCS / "results_mini/one_run.csv").to_numpy().tolist()
    assert all(row(name, values) in PAGE for name, *values in cells)


@pytest.mark.parametrize("statement", statements())
def test_the_page_says_what_the_tables_say(statement):
    assert statement in PAGE
