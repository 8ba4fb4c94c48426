"""Tables, figures, pictures and the report: the right numbers in the right places."""

import base64
import json
import re
from io import BytesIO, StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from raw_data import png, written

from scan_core.errors import InputError
from scan_core.evaluation.intervals import save_resamples
from scan_core.params.classifiers import CLASSIFIERS
from scan_core.params.metric_names import METRICS
from scan_core.reporting.draw import DRAWN, qualitative
from scan_core.reporting.figures import (
    confusion_figure,
    per_class_figure,
    save_figure,
    seen_unseen_figure,
    training_figure,
)
from scan_core.reporting.findings import Findings
from scan_core.reporting.grids import (
    BASELINE,
    ablate,
    grid_figure,
    grid_tables,
    grid_values,
    load_grid,
)
from scan_core.reporting.published import load_published, published_table, scored_table
from scan_core.reporting.report import finding, report_page
from scan_core.reporting.results import load_curves, load_evaluations, load_per_class
from scan_core.reporting.tables import (
    Table,
    benchmark_metrics,
    claim_table,
    detail_table,
    main_table,
)
from scan_core.storage.files import write_json
from scan_core.vocabulary.classes import load_class_list

ROOT = Path(__file__).parents[1]
EMPTY = dict.fromkeys(name for name in METRICS if name.endswith("seen"))


def evaluation(folder: Path, benchmark: str, recipe: str = "mini", **metrics) -> Path:
    """A metrics.json; metrics are the combined classifier's, the others have half of them."""
    values = dict.fromkeys(METRICS, 0.25) | metrics
    results = {
        classifier: {
            name: value if value is None or classifier == "combined" else value / 2
            for name, value in values.items()
        }
        for classifier in CLASSIFIERS
    }
    record = {
        **{"recipe": recipe, "variant": "seed=0", "benchmark": benchmark, "results": results},
        **{"class_count": 3, "images": 120, "code": {"evaluate": "of before"}},
        "cuts": [{"cut": "size", "part": "large", "share": 1, "metrics": {}, "intervals": {}}],
    }
    path = folder / recipe / benchmark / "metrics.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record))
    return path


def grid_of(path: Path, keys: list[str], rows: list[tuple], own: list[tuple] = ()):
    """A grid; a row is (seed, benchmark, values, miou), `own` are (benchmark, *values)."""
    records = []
    for number, (seed, benchmark, values, miou) in enumerate(rows):
        metrics = {m: miou if m.startswith("miou") else None for m in METRICS}
        place = path.with_suffix("") / f"{number}/evaluation.json"
        write_json(place, {"key": {"metrics": metrics}})
        drawn = {
            m: (value or np.nan) + np.linspace(-0.02, 0.02, 41) for m, value in metrics.items()
        }
        save_resamples(place.with_name("resamples.npz"), {"key": drawn})
        records.append(
            {
                **{"seed": seed, "benchmark": benchmark, "evaluation": str(place), "key": "key"},
                "values": dict(zip(keys, values, strict=True)),
                "baseline": (benchmark, *values) in own,
            }
        )
    plan = path.with_suffix(".json")
    write_json(plan, {"document": records})
    ablate(path.stem, plan, path)
    return load_grid(path)


def cells(table: Table, *begin: str) -> list[str]:
    """The cells of the one row that begins so."""
    rows = table.cells.to_numpy().tolist()
    (row,) = [row for row in rows if row[: len(begin)] == list(begin)]
    return row[len(begin) :]


def bold(table: Table) -> list[str]:
    return table.cells.to_numpy()[table.best.to_numpy()].tolist()


# Tables


def test_main_table_has_every_classifier_by_both_rules(tmp_path):
    paths = [
        evaluation(tmp_path, "mini_ade_36", miou=0.41254, miou_d2_v06=0.4),
        evaluation(tmp_path, "mini_voc_10", miou=0.2, miou_d2_v06=None),
    ]
    table = main_table(load_evaluations(paths))
    assert list(table.cells) == ["classified by", "rule", "mini_ade_36", "mini_voc_10"]
    assert len(table.cells) == 2 * len(CLASSIFIERS)
    assert cells(table, "combined", "miou") == ["41.25", "20.00"]
    assert cells(table, "combined", "miou_d2_v06") == ["40.00", "–"]
    assert cells(table, "CLIP only", "miou") == ["20.63", "10.00"]
    assert bold(table) == ["40.00", "41.25", "20.00"]


def test_where_both_rules_agree_no_row_is_there_twice_with_one_benchmark_too(tmp_path):
    path = evaluation(tmp_path, "mini_ade_36", **EMPTY)
    table = main_table(load_evaluations([path]))
    assert list(table.cells) == ["classified by", "mini_ade_36"]
    assert list(table.cells["classified by"]) == list(CLASSIFIERS.values())
    assert "`miou_d2_v06`, the rule of the paper, gives the same values" in table.note


def test_details_and_external_methods(tmp_path):
    paths = [evaluation(tmp_path, "voc_20b", sg_iou=0.5, pacc=0.75, **EMPTY)]
    paths.append(evaluation(tmp_path, "ade20k_150"))
    other = [evaluation(tmp_path, "voc_20b", recipe="other", miou=0.3)]
    results = load_evaluations(paths, other)
    table = detail_table(results)
    row = table.cells.set_index(["benchmark", "classified by"]).loc["voc_20b", "combined"]
    assert (row["classes"], row["images"]) == ("3", "120")
    assert (row["SG-IoU"], row["pAcc"], row["mIoU, unseen"]) == ("50.00", "75.00", "–")
    table = main_table(results)
    assert cells(table, "other (given predictions)", "miou") == ["30.00", "–"]
    assert "other has none for ade20k_150" in table.note
    assert "Made by earlier code." in table.with_note("Made by earlier code.").markdown()
    assert json.loads(benchmark_metrics(results)["voc_20b"]) == {
        **dict.fromkeys(("miou", "miou_d2_v06"), 25.0),
        **{"sg_iou": 50.0, "in_vocabulary_miou": 12.5, "clip_only_miou": 12.5},
    }


@pytest.mark.parametrize(
    ("architecture", "method"), [("ViT-B-16", "SCAN B"), ("ViT-L-14", "SCAN L")]
)
def test_difference_to_the_papers_row_is_by_its_rule(tmp_path, architecture, method):
    paths = [
        evaluation(tmp_path, "context_459", miou=0.21, miou_d2_v06=0.15, recipe="paper"),
        evaluation(tmp_path, "voc_20b", recipe="paper"),
        evaluation(tmp_path, "coco_stuff_171", recipe="paper"),
    ]
    results = load_evaluations(paths)
    table = published_table(results, architecture)
    published = load_published().set_index("method")
    expected = f"{15 - published.loc[method, 'PC459']:+.2f}".replace("-", "−")
    # The paper has no number on VOC-20b, and we have none on the first, the third and so on.
    change = cells(table, f"ours − {method}", *["–"] * 4, "miou_d2_v06")
    assert change == ["–", expected, "–", "–", "–", "–"]
    first, second = table.cells.iloc[0], table.cells.iloc[1]
    assert first.iloc[5:].tolist() == ["miou_d2_v06", "–", "15.00", "–", "–", "–", "25.00"]
    assert second.iloc[5:8].tolist() == ["miou", "–", "21.00"]
    assert cells(scored_table(results), "**paper**", "–", "miou") == ["21.0"]


def test_imported_weights_are_compared_with_the_papers_rounded_numbers(tmp_path):
    paper = load_published().set_index("method").loc["SCAN L"]
    near, far = paper["A150"] / 100 + 0.0009, paper["PC59"] / 100 - 0.0012
    paths = [
        evaluation(tmp_path, "ade20k_150", miou_d2_v06=near),
        evaluation(tmp_path, "context_59", miou_d2_v06=far),
    ]
    trained = published_table(load_evaluations(paths), "ViT-L-14")
    assert not trained.cells["method"].str.startswith("within").any()
    for path in paths:
        path.write_text(json.dumps(json.loads(path.read_text()) | {"imported": {"segmenter": {}}}))
    imported = published_table(load_evaluations(paths), "ViT-L-14").cells.set_index("method")
    assert imported.loc["within 0.1 of SCAN L", ["A150", "PC59"]].tolist() == ["yes", "no"]
    assert imported.loc["ours − SCAN L", ["A150", "PC59"]].tolist() == ["+0.09", "−0.12"]


def test_the_best_published_values_are_marked_and_doubtful_ones_are_not_among_them(tmp_path):
    published = load_published()
    assert set(published["reading"]) <= {"authors", "quoted", "second-hand", "doubtful"}
    assert published.loc[published["reading"] == "doubtful", "method"].tolist() == ["PCA-Seg L"]
    results = load_evaluations([evaluation(tmp_path, "mini_ade_36")])
    table = published_table(results, "small")
    trusted = published[published["reading"] != "doubtful"]["A150"]
    assert set(trusted.index[trusted == trusted.max()]) == set(np.flatnonzero(table.best["A150"]))
    assert "PCA-Seg L ‡" in set(table.cells["method"])
    assert "not comparable" in table.markdown()
    assert scored_table(results) is None


def test_the_formats_carry_the_cells():
    frame = pd.DataFrame({"name": ["a_b|c", "d & <e>"], "value": ["−1.50", "2.00"]})
    table = Table("A & B", frame, 1, "`x` ± 5 %.", frame == "2.00")
    read = pd.read_csv(StringIO(table.csv()))
    assert read.to_numpy().tolist() == [["a_b|c", -1.5], ["d & <e>", 2.0]]
    assert re.search(r"\| a_b\\\|c +\| +−1\.50 \|", table.markdown())
    assert "**2.00**" in table.markdown()
    assert r"d \& <e> & \bfseries 2.00 \\" in table.latex()
    assert r"\caption{A \& B. x $\pm$ 5 \%.}" in table.latex()
    assert "d &amp; &lt;e&gt;" in table.html()
    assert "<code>x</code> ± 5 %." in table.html()


# Grids


def test_grid_over_seeds_shows_intervals_over_images_beside_the_error(tmp_path):
    rows = [(s, "a", (0.5, "vild"), m) for s, m in ((0, 0.40), (1, 0.42), (2, 0.47))]
    rows += [(s, "a", ([9, 7], "null"), 0.3) for s in range(3)]
    grid = grid_of(tmp_path / "mix.csv", ["x.y", "z"], rows, own=[("a", [9, 7], "null")])
    error = 100 * np.std([0.40, 0.42, 0.47], ddof=1) / np.sqrt(3)
    (table,) = grid_tables(grid)  # the other kinds of mIoU have the same numbers
    assert table.title == "Grid mix: mIoU"
    assert list(table.cells) == ["y", "z", "a"]
    assert cells(table, "0.5", "vild") == [f"43.00 ± {error:.2f} [41.1, 44.9]*"] == bold(table)
    assert cells(table, f"[9, 7] {BASELINE}", "null") == ["30.00 ± 0.00 [28.1, 31.9]"]
    assert "mean ± standard error over 3 seeds" in table.note
    assert "not over trainings, of the mean over the seeds" in table.note
    assert grid.rows["miou_gain"].tolist() == pytest.approx([0.13] * 3 + [0] * 3)
    assert grid.rows["miou_gain_low"].tolist() == pytest.approx([0.13] * 3 + [0] * 3)
    values = pd.read_csv(StringIO(grid_values(grid)), dtype=str, keep_default_na=False)
    by_metric = values[(values["z"] == "vild")].set_index("metric")
    last = ["mean", "standard_error", "seeds"]
    assert by_metric.loc["miou", last].tolist() == ["43.00", f"{error:.2f}", "3"]
    assert by_metric.loc["sg_iou", last].tolist() == ["–", "–", "0"]


def test_the_recipes_own_setting_is_marked(tmp_path):
    key = ["inference.clip_weight"]
    rows = [(0, b, (v,), v / 2) for b in "ab" for v in (0.1, 0.2)]
    grid = grid_of(tmp_path / "w.csv", key, rows, own=[("a", 0.2), ("b", 0.2)])
    (table,) = grid_tables(grid)
    assert table.cells["ensemble weight of CLIP"].tolist() == ["0.1", f"0.2 {BASELINE}"]
    assert f"{BASELINE}: the recipe's own setting" in table.note
    assert "of the mean over the seeds" not in table.note
    # Another value on each benchmark: the cells are marked, not the row.
    (table,) = grid_tables(grid_of(tmp_path / "w.csv", key, rows, own=[("a", 0.1), ("b", 0.2)]))
    assert table.cells.to_numpy().tolist() == [
        ["0.1", f"5.00 [3.1, 6.9] {BASELINE}", "5.00 [3.1, 6.9]*"],
        ["0.2", "10.00 [8.1, 11.9]*", f"10.00 [8.1, 11.9] {BASELINE}"],
    ]


def test_curves_over_numbers_and_bars_over_the_rest(tmp_path):
    rows = [(s, "a", (v,), 0.4 + v / 10 + s / 100) for s in (0, 1) for v in (1, 0.5, 0)]
    left, right = grid_figure(grid_of(tmp_path / "curve.csv", ["w"], rows)).axes
    line, change = left.containers[0][0], right.containers[0][0]
    assert line.get_xdata() == pytest.approx([0, 0.5, 1])
    assert line.get_ydata() == pytest.approx([40.5, 45.5, 50.5])
    assert change.get_ydata() == pytest.approx([0, 5, 10])
    rows = [(0, b, (v,), 0.3) for b in "ab" for v in (True, False)]
    (axis,) = grid_figure(grid_of(tmp_path / "bars.csv", ["on"], rows)).axes
    assert [bar.get_height() for bar in axis.patches] == pytest.approx([30] * 4)


# What is refused


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "cannot be read"),
        ('{"results": {}}', "KeyError: 'recipe'"),
        ('{"results": {"guess": {}}}', "evaluate again"),
        ("41.2", "miou is no fraction"),
    ],
)
def test_damaged_evaluation(tmp_path, text, says):
    path = evaluation(tmp_path, "a")
    path.write_text(path.read_text().replace("0.25", text) if text == "41.2" else text)
    with pytest.raises(InputError, match=r"metrics\.json.*" + says):
        load_evaluations([path])


def test_evaluations_that_do_not_belong_together(tmp_path):
    first = evaluation(tmp_path / "1", "a")
    with pytest.raises(InputError, match="a of mini is there twice"):
        load_evaluations([first, evaluation(tmp_path / "2", "a")])
    with pytest.raises(InputError, match="of several models"):
        load_evaluations([first, evaluation(tmp_path / "3", "b", recipe="vitl14")])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("g,0,a,0.5", "g,0,a,half"), "varied values as JSON"),
        (("g,1,a", "g,0,a"), "has a row twice"),
    ],
)
def test_damaged_grid(tmp_path, change, says):
    path = tmp_path / "g.csv"
    grid_of(path, ["w"], [(0, "a", (0.5,), 0.1), (1, "a", (0.5,), 0.2)])
    text = path.read_text()
    changed = text.replace(*change)
    assert changed != text
    path.write_text(changed)
    with pytest.raises(InputError, match=r"g\.csv.*" + says):
        load_grid(path)


# Figures

CLASSES = pd.DataFrame(
    {
        "name": ["sky", "kite, toy", "sea", "absent"],
        "group": ["seen", "unseen", "seen", "unseen"],
        "iou": [0.9, 0.2, 0.5, np.nan],
    }
)


def test_per_class_bars_are_sorted_and_coloured(tmp_path):
    path = tmp_path / "per_class.csv"
    seen = CLASSES["group"].map({"seen": "true", "unseen": "false"})
    CLASSES.assign(seen=seen).to_csv(path, index=False)
    pd.testing.assert_frame_equal(load_per_class(path), CLASSES, check_dtype=False)
    figure = per_class_figure(CLASSES, "mini")
    (axis,) = figure.axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["sky", "sea", "kite"]
    assert [bar.get_width() for bar in axis.patches] == pytest.approx([90, 50, 20])
    assert "1 more without ground truth" in figure.get_suptitle()


@pytest.mark.parametrize("number", [0, 200])
def test_figures_of_any_number_of_classes_repeat_to_the_byte(tmp_path, number):
    names = [f"class {i}" for i in range(number)]
    classes = pd.DataFrame({"name": names, "group": "all classes", "iou": 0.5})
    for folder in ("1", "2"):
        save_figure(per_class_figure(classes, "many"), tmp_path / folder, "many")
    for suffix in ("png", "pdf", "svg"):
        once, again = (tmp_path / n / f"many.{suffix}" for n in "12")
        assert once.read_bytes() == again.read_bytes()


def test_seen_and_unseen_bars(tmp_path):
    paths = [
        evaluation(tmp_path, "a", miou=0.4, miou_seen=0.6, miou_unseen=0.2),
        evaluation(tmp_path, "b", miou=0.3, **EMPTY),
    ]
    results = load_evaluations(paths)
    figure = seen_unseen_figure(results)
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    assert heights == pytest.approx([20, 20, 40, 30, 30, 60, 10, 10, 20])
    assert finding(results) == (
        "Both classifiers combined reach a mean IoU of 35.0 %, averaged over 2 benchmarks (chance: "
        "17.5 %): 17.5 points more than CLIP alone (higher on 2 of 2), and 17.5 points more than "
        "the in-vocabulary classifier alone (higher on 2 of 2)."
    )


def test_confused_pairs():
    counts = np.zeros((5, 5), np.int64)
    counts[:4, :4] = np.diag([70, 10, 40, 0])
    counts[2, 0] = 30  # sky predicted as sea
    counts[0, 1] = 90  # kite predicted as sky
    counts[1, 4] = 500  # without ground truth
    (axis,) = confusion_figure(counts, CLASSES, "mini").axes
    names = [label.get_text().split("  →  ") for label in axis.get_yticklabels()]
    assert names == [["kite", "sky"], ["sky", "sea"]]
    assert [bar.get_width() for bar in axis.patches] == pytest.approx([90, 30])


def test_training_curves(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = [{"step": s, "loss": 3 - s / 100, "learning_rate": 1e-3} for s in (10, 20, 30)]
    lines += [{"step": 20, "loss": 9.0}, {"step": 30, "validation_miou": 0.3}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    curves = load_curves(path)
    assert curves["loss"].to_dict() == {10: 2.9, 20: 9.0, 30: 2.7}
    _, validation, _ = training_figure(curves, "segmenter").axes
    assert validation.lines[0].get_ydata() == pytest.approx([30])
    path.write_text('{"step": 1, "lo')
    with pytest.raises(InputError, match=r"metrics\.jsonl"):
        load_curves(path)


def test_intervals_are_shown_and_differences_that_exclude_zero_marked(tmp_path):
    path = evaluation(tmp_path, "mini_ade_36", miou=0.6)
    record = json.loads(path.read_text())
    record["intervals"] = {name: {"miou": [0.2, 0.65]} for name in CLASSIFIERS}
    record["differences"] = {"clip_only": {"miou": [0.3, -0.01, 0.4]}}
    record["differences"]["in_vocabulary"] = {"miou": [0.3, 0.1, 0.4]}
    path.write_text(json.dumps(record))
    results = load_evaluations([path])
    table = main_table(results)
    shown = {row[0]: row[-1] for row in table.cells.to_numpy() if "[" in row[-1]}
    assert shown[CLASSIFIERS["combined"]] == "60.00 [20.0, 65.0]"
    assert shown[CLASSIFIERS["clip_only"]] == "30.00 [20.0, 65.0]"
    assert shown[CLASSIFIERS["in_vocabulary"]] == "30.00 [20.0, 65.0]*"
    assert "over the images of the test set" in table.note
    claims = claim_table(results).cells.to_numpy().tolist()
    assert claims == [
        ["mini_ade_36", "CLIP alone", "cannot be told", "+30.0 [−1.0, +40.0]"],
        ["mini_ade_36", "in-vocabulary alone", "yes", "+30.0 [+10.0, +40.0]"],
    ]


# Pictures


@pytest.fixture
def benchmark(tmp_path):
    """Five images of 24 x 16 pixels with vertical stripes of classes, and predictions of them."""
    stripes = [(0, 0), (0, 1), (2, 3, 3, 255), (0, 1, 2), (1, 1)]
    labels = {
        str(number): np.repeat(np.array(values, np.uint8), 24 // len(values))[None].repeat(16, 0)
        for number, values in enumerate(stripes)
    }
    for name in DRAWN:
        for stem, label in labels.items():
            png(tmp_path / f"predictions/{name}/{stem}.png", np.where(label == 255, 0, label))
    names = ("sky", "sea", "kite, toy", "boat")
    classes = {"names": names, "raw_ids": [0, 1, 2, 3], "seen": [True, True, False, True]}
    (tmp_path / "stripes.json").write_text(json.dumps(classes))
    written(tmp_path, labels, load_class_list(str(tmp_path / "stripes.json")))
    return tmp_path


def panels(folder: Path) -> tuple[np.ndarray, list[int]]:
    """The grey picture, and the ends of its rows."""
    classes, picture = str(folder / "stripes.json"), folder / "panels.png"
    qualitative(folder / "index.json", classes, folder / "predictions", picture)
    with Image.open(picture) as drawn:
        return np.asarray(drawn.convert("L")), json.loads(drawn.info["rows"])


def test_panels_of_the_median_best_and_worst_image_repeat_to_the_byte(benchmark):
    wrong = np.zeros((16, 24), np.uint16)
    for name in DRAWN:
        png(benchmark / f"predictions/{name}/4.png", wrong)  # nothing is right
    png(benchmark / "predictions/combined/3.png", wrong)  # a third is right
    pixels, ends = panels(benchmark)
    assert len(ends) == 5
    assert ends[-1] <= pixels.shape[0]
    repeated = (benchmark / "panels.png").read_bytes()
    panels(benchmark)
    assert (benchmark / "panels.png").read_bytes() == repeated


def test_predictions_that_do_not_fit(benchmark):
    path = benchmark / "predictions/combined/3.png"
    for pixels, says in [(np.full((16, 24), 4), "holds the id 4"), (np.zeros((8, 24)), "shape")]:
        png(path, pixels.astype(np.uint8))
        with pytest.raises(InputError, match=rf"combined/3\.png .*{says}"):
            panels(benchmark)
    path.unlink()  # an image without all predictions is not chosen
    assert len(panels(benchmark)[1]) == 4


# The report


def noise(path: Path, width: int, height: int, **texts: str) -> Path:
    """A picture that no format makes small."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
    about = PngInfo()
    for name, text in texts.items():
        about.add_text(name, text)
    Image.fromarray(pixels).save(path, pnginfo=about)
    return path


def test_the_report_needs_no_other_file_and_shows_each_image_in_its_size(tmp_path):
    benchmarks = ("mini_ade_36", "mini_voc_10")
    names = ["seen_unseen", "ablation_weights", "curves_segmenter"]
    names += [f"{kind}_{b}" for kind in ("per_class", "confusion", "cuts") for b in benchmarks]
    for name in names:
        noise(tmp_path / f"figures/{name}.png", 300, 150)
    recipe = {"seed": "<0>", "clip": {"architecture": {}}}
    document = {"recipe": "mini", "recipes": {"mini": recipe}}
    write_json(tmp_path / "recipe.json", {"document": document})
    rows = [(0, "mini_ade_36", (v,), v) for v in (0.1, 0.2)]
    grid_of(tmp_path / "weights.csv", ["inference.clip_weight"], rows)
    arguments = (
        Findings(
            tmp_path / "recipe.json",
            [evaluation(tmp_path, name) for name in benchmarks],
            ablation=[tmp_path / "weights.csv"],
        ),
        [noise(tmp_path / f"{name}.png", 1340, 900, rows="[310, 900]") for name in benchmarks],
        [noise(tmp_path / "sheet.png", 1400, 500, benchmark="mini_coco_24")],
        tmp_path / "figures",
        tmp_path / "report.html",
    )
    report_page(*arguments)
    page = (tmp_path / "report.html").read_text()
    main, first = page.index("<table"), page.index("<img ")
    assert page.index("Both classifiers combined") < main < first < page.index("<h2 ")
    assert "Made by other code than the present of" in page[main:first]
    assert not re.findall(r'(?:src|href)="(?!#|data:)', page)
    assert "&lt;0&gt;" in page, "the recipe is text"
    images = re.findall(
        r'<img src="data:image/webp;base64,([^"]+)" width="(\d+)" height="(\d+)"', page
    )
    assert len(images) == page.count("<img ") == 1 + len(names) + 2 + 1
    sizes = [Image.open(BytesIO(base64.b64decode(data))).size for data, _, _ in images]
    assert sizes == [(int(width), int(height)) for _, width, height in images]
    (tmp_path / "figures/confusion_mini_voc_10.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"confusion_mini_voc_10\.png cannot be read"):
        report_page(*arguments)
