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


def weight(value: str) -> pd.DataFrame:
    return runs("ensemble_weight", clip_weight=value)


def text(value: float, sign: str = "") -> str:
    rounded = f"{round(value, 1) + 0.0:{sign}.1f}".replace("-", "−")
    return {"+0.0": "0.0"}.get(rounded, rounded)


def estimate(values: pd.Series, sign: str = "") -> str:
    return f"{text(values.mean(), sign)} ± {text(values.sem())}"


def row(name: str, cells) -> str:
    return f"| {name} | {' | '.join(map(str, cells))} |"


def statements():
    """What must stand on the page."""
    own, clip = runs("repeated"), weight("1")
    classifiers = {
        "in-vocabulary only": weight("0"),
        "CLIP only": clip,
        "combined": own,
    }
    for name, of in classifiers.items():
        yield row(name, (estimate(of[b]) for b in ALL))
    gain = own - clip
    paired = [estimate(gain[b], "+") for b in ALL]
    yield row("combined − CLIP only, paired", [*paired[:-1], "0"])
    limits = (f"{text(own[b].min())}, {text(own[b].max())}" for b in ALL)
    yield row("combined, lowest and highest", limits)
    unseen = runs("repeated", "miou_unseen").mean()
    yield row("combined, unseen classes", [*map(text, unseen[ALL[:5]]), "–"])
    one_weight = own - weight("0.9")
    yield "by " + ", ".join(estimate(one_weight[b], "+") for b in ALL)

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


def parts():
    """What must stand on the page of the recipe `mini_parts`."""

    def of(weight: str, integration: str = "true", shift: str = "true") -> pd.DataFrame:
        cell = {"enabled": integration, "contextual_shift": shift, "clip_weight": weight}
        return runs("parts", **cell)[MIXED]

    segments = pd.read_csv(DOCS / "results_mini/fine_tuning.csv").set_index(["recipe", "seed"])
    means = segments.loc["mini", ["before", "after"]].mean()
    yield f"from {text(means['before'])} to {text(means['after'])}"
    of_parts = segments.loc["mini_parts"].pivot(columns="benchmark")
    before, after = of_parts["before"][MIXED], of_parts["after"][MIXED]
    classifiers = {"in-vocabulary only": of("0"), "CLIP only": of("1"), "combined": of("0.75")}
    classifiers |= {"before fine-tuning": before, "after fine-tuning": after}
    for name, found in classifiers.items():
        yield row(name, [*(estimate(found[b]) for b in MIXED), estimate(found.mean(axis=1))])
    gains = {
        "combined − in-vocabulary only": of("0.75") - of("0"),
        "combined − CLIP only": of("0.75") - of("1"),
        "integration, in-vocabulary only": of("0") - of("0", integration="false"),
        "integration, combined": of("0.75") - of("0.75", integration="false"),
        "fine-tuning with masks, CLIP only": after - before,
        "contextual shift, combined": of("0.75") - of("0.75", shift="false"),
    }
    for name, gain in gains.items():
        cells = [estimate(gain[b], "+") for b in MIXED]
        yield row(name, [*cells, estimate(gain.mean(axis=1), "+")])


def of_one_run(table: str) -> pd.DataFrame:
    return pd.read_csv(DOCS / f"results_mini/{table}.csv", dtype=str)


def test_readme_says_what_the_tables_say():
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8").replace("**", "")
    for name, *cells in of_one_run("one_run").to_numpy().tolist()[:3]:
        assert row(name, cells[: len(MIXED)]) in readme
    own = runs("repeated")
    ranges = [f"{text(own[b].min())} to {text(own[b].max())}" for b in MIXED]
    readme = re.sub(r"\s+", " ", readme)
    assert f"{', '.join(ranges[:3])} and {ranges[3]}" in readme
    gains = [line.split(" | ")[-1].strip(" +|") for line in parts() if "| +" in line]
    assert all(gains[n] in readme for n in (1, 2, 4)), "the ensemble, integration, fine-tuning"


def test_the_page_shows_the_run_with_the_present_code():
    for name, *cells in of_one_run("one_run").to_numpy().tolist():
        assert row(name, cells) in PAGE
    claims = of_one_run("one_run_claims").pivot(
        index="than", columns="benchmark", values="difference of mIoU"
    )
    gains = [gain.replace("-", "−") for gain in claims.loc["CLIP alone", ALL]]
    assert row("combined − CLIP only, paired", gains) in PAGE
    for name, of in of_one_run("one_run_details").groupby("classified by"):
        found = of.set_index("benchmark")
        if name == "combined":
            assert row("combined, SG-IoU", found.loc[ALL, "SG-IoU"]) in PAGE
        if name != "chance":
            assert row(name, found.loc[ALL[:5], "mIoU, unseen"]) in PAGE


@pytest.mark.parametrize("statement", [*statements(), *parts()])
def test_the_page_says_what_the_tables_say(statement):
    assert statement in PAGE
