"""Tables, figures and panels: the right numbers in the right places, and readable pictures."""

import csv
import json
import math
import subprocess
import sys
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from scan_core.datasets.index import BenchmarkIndex, Sample, Split
from scan_core.datasets.loading import BenchmarkImages
from scan_core.errors import InputError
from scan_core.evaluation.per_class import per_class_table
from scan_core.params.metric_names import METRICS
from scan_core.reporting.figures.figures import draw_figures
from scan_core.reporting.figures.grid_figures import grid_figure
from scan_core.reporting.figures.plotting import save_figure
from scan_core.reporting.figures.result_figures import (
    confusion_figure,
    per_class_figure,
    seen_unseen_figure,
)
from scan_core.reporting.figures.training_figures import training_figure
from scan_core.reporting.pictures.qualitative import PREDICTIONS, choose_images, draw_panels
from scan_core.reporting.published import PAPER_BENCHMARKS, load_published, paper_result
from scan_core.reporting.results import (
    ClassResult,
    load_confusion,
    load_curves,
    load_evaluations,
    load_per_class,
)
from scan_core.reporting.tables.grid_tables import grid_tables, grid_values
from scan_core.reporting.tables.grids import estimate, load_grid
from scan_core.reporting.tables.published_table import published_table
from scan_core.reporting.tables.result_tables import (
    benchmark_metrics,
    detail_table,
    main_table,
)
from scan_core.reporting.tables.table_text import (
    OWN,
    Table,
    best_cells,
    difference,
    html_page,
    per_cent,
)
from scan_core.reporting.tables.tables import write_tables
from scan_core.vocabulary.classes import load_class_list

MODES = ("combined", "in_vocabulary", "clip_only", "chance")
EMPTY = dict.fromkeys(name for name in METRICS if name.endswith("seen"))


def evaluation(folder: Path, benchmark: str, recipe: str = "mini", **metrics) -> Path:
    """A metrics.json; metrics are the combined mode's, the others have half of them."""
    values = dict.fromkeys(METRICS, 0.25) | metrics
    results = {
        mode: {
            name: value if value is None or mode == "combined" else value / 2
            for name, value in values.items()
        }
        for mode in MODES
    }
    record = {
        **{"recipe": recipe, "variant": "seed=0", "benchmark": benchmark, "classes": benchmark},
        **{"class_count": 3, "images": 120, "settings": {}, "results": results},
        "timing": {"seconds": 12.3, "images_per_second": 9.7},
    }
    path = folder / benchmark / "metrics.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record))
    return path


def grid_file(path: Path, keys: list[str], rows: list[tuple], own: list[tuple] = ()) -> Path:
    """CSV of a grid; a row is (seed, benchmark, values, miou), everything else follows miou.

    `own` holds (benchmark, *values) of the recipe's own cells.
    """
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["grid", "seed", "benchmark", *keys, *METRICS, "own"])
        for seed, benchmark, values, miou in rows:
            metrics = [miou if name.startswith("miou") else "" for name in METRICS]
            mine = json.dumps((benchmark, *values) in own)
            writer.writerow([path.stem, seed, benchmark, *map(json.dumps, values), *metrics, mine])
    return path


def cells(table: Table, *begin: str) -> list[str]:
    """The cells of the one row that begins so."""
    (row,) = [row for row in table.rows if row[: len(begin)] == begin]
    return list(row[len(begin) :])


def looks_drawn(path: Path) -> tuple[int, int]:
    """Size of a picture, which must be neither blank nor nearly so."""
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("L"))
    assert (pixels != pixels[0, 0]).mean() > 0.01
    return pixels.shape[1], pixels.shape[0]


# Tables


def test_main_table_has_every_way_by_both_rules(tmp_path):
    paths = [
        evaluation(tmp_path, "mini_ade_36", miou=0.41254, miou_d2_v06=0.4),
        evaluation(tmp_path, "mini_voc_10", miou=0.2, miou_d2_v06=None),
    ]
    table = main_table(load_evaluations(paths))
    assert table.header == ("classified by", "rule", "mini_ade_36", "mini_voc_10")
    assert len(table.rows) == 2 * len(MODES)
    assert cells(table, "combined", "miou") == ["41.25", "20.00"]
    assert cells(table, "combined", "miou_d2_v06") == ["40.00", "–"]
    assert cells(table, "CLIP only", "miou") == ["20.63", "10.00"]
    bold = {(table.rows[row][:2], column) for row, column in table.best}
    assert bold == {(("combined", rule), 2) for rule in ("miou", "miou_d2_v06")} | {
        (("combined", "miou"), 3)
    }


def test_where_both_rules_agree_no_row_is_there_twice(tmp_path):
    table = main_table(load_evaluations([evaluation(tmp_path, "mini_ade_36", **EMPTY)]))
    assert table.header == ("classified by", "mini_ade_36")
    assert len(table.rows) == len(MODES)
    assert "`miou_d2_v06`, the rule of the paper, gives the same values" in table.note
    path = evaluation(tmp_path, "mini_ade_36", **EMPTY)
    record = json.loads(path.read_text())
    record["results"]["chance"]["miou_d2_v06"] = 0.01
    path.write_text(json.dumps(record))
    table = main_table(load_evaluations([path]))
    assert [row[:2] for row in table.rows] == [
        ("chance", "miou_d2_v06"),
        *((name, "miou") for name in ("in-vocabulary only", "CLIP only", "combined", "chance")),
    ]


def test_where_all_are_equal_none_is_the_best():
    assert best_cells([("1.0", "2"), ("1.0", "3"), ("–", "3")], [0, 1]) == {(1, 1), (2, 1)}


def test_detail_table_has_every_metric(tmp_path):
    path = evaluation(tmp_path, "voc_20b", sg_iou=0.5, pacc=0.75, **EMPTY)
    table = detail_table(load_evaluations([path]))
    row = dict(zip(table.header, table.rows[2], strict=True))
    assert row["classified by"] == "combined"
    assert (row["classes"], row["images"]) == ("3", "120")
    assert (row["SG-IoU"], row["pAcc"], row["mIoU, unseen"]) == ("50.00", "75.00", "–")


@pytest.mark.parametrize(
    ("architecture", "method"), [("ViT-B-16", "SCAN B"), ("ViT-L-14", "SCAN L")]
)
def test_difference_to_the_papers_row_is_by_its_rule(tmp_path, architecture, method):
    paths = [
        evaluation(tmp_path, "context_459", miou=0.21, miou_d2_v06=0.15, recipe="paper"),
        evaluation(tmp_path, "voc_20b", recipe="paper"),
        evaluation(tmp_path, "coco_stuff_171", recipe="paper"),
    ]
    table = published_table(load_evaluations(paths), architecture)
    paper = paper_result(architecture, load_published())
    expected = f"{15 - paper.miou['context_459']:+.2f}".replace("-", "−")
    dashes = ["–"] * 4
    change = cells(table, f"ours − {method}", *dashes, "miou_d2_v06")
    # The paper has no number on VOC-20b, and we have none on the first, the third and so on.
    assert change == ["–", expected, "–", "–", "–", "–"]
    first = table.rows[0]
    assert first[0] == "ours (paper)"
    assert first[5:] == ("miou_d2_v06", "–", "15.00", "–", "–", "–", "25.00")
    assert table.rows[1][5:8] == ("miou", "–", "21.00")
    assert "PC459 120" in table.note
    rules = {row[0]: row[5] for row in table.rows}
    assert rules["SCAN B"].startswith("old")
    assert rules["FC-CLIP"].startswith("new")


def test_published_numbers_stand_apart_from_other_benchmarks(tmp_path):
    evaluations = load_evaluations([evaluation(tmp_path, "mini_ade_36")])
    table = published_table(evaluations, "small")
    assert len(table.rows) == len(load_published()) > 70
    assert not any("ours" in row[0] for row in table.rows)
    assert "not comparable" in table.markdown()


def test_published_rows_are_read_with_their_gaps():
    published = load_published()
    large = paper_result("ViT-L-14", published)
    assert large.miou["ade20k_847"] == 14.0
    assert large.miou["voc_20"] == 97.2
    assert math.isnan(large.miou["voc_20b"])
    assert paper_result("small", published) is None
    assert all(set(result.miou) == set(PAPER_BENCHMARKS) for result in published)


def test_the_best_published_values_are_marked_and_doubtful_ones_are_not_among_them(tmp_path):
    published = load_published()
    table = published_table(load_evaluations([evaluation(tmp_path, "mini_ade_36")]), "small")
    best = {(table.rows[row][0], table.header[column]) for row, column in table.best}
    trusted = [result for result in published if result.reading != "doubtful"]
    for benchmark, column in PAPER_BENCHMARKS.items():
        marked = {name.rstrip(" †‡") for name, of in best if of == column}
        rules = ("old", "new") if benchmark == "context_459" else ("",)
        for rule in rules:
            same = [r for r in trusted if r.context_459_rule.startswith(rule)]
            top = max(r.miou[benchmark] for r in same if not math.isnan(r.miou[benchmark]))
            expected = {r.method for r in same if r.miou[benchmark] == top}
            assert expected <= marked
            marked -= expected
        assert not marked
    assert [r.method for r in published if r.reading == "doubtful"] == ["PCA-Seg L"]
    assert "PCA-Seg L ‡" in {row[0] for row in table.rows}
    assert "†: second-hand. ‡: doubtful." in table.note
    (dino,) = [result for result in published if result.method == "dinov3.seg"]
    known = [value for value in dino.miou.values() if not math.isnan(value)]
    assert np.mean(known) == pytest.approx(50.44, abs=0.005), "the average that it states"


def test_a_published_row_says_how_it_was_read(tmp_path):
    text = (Path(__file__).parents[1] / "scan_core/reporting/published_numbers.csv").read_text()
    damaged = tmp_path / "numbers.csv"
    damaged.write_text(text.replace("second-hand\n", "hearsay\n", 1))
    with pytest.raises(InputError, match=r"reading 'hearsay' of dinov3\.seg"):
        load_published(damaged)


def test_grid_over_seeds(tmp_path):
    rows = [(s, "a", (0.5, "vild"), m) for s, m in ((0, 0.40), (1, 0.42), (2, 0.47))]
    rows += [(0, "b", (0.5, "vild"), 0.1), (0, "a", ([9, 7], "vild"), 0.3)]
    rows += [(1, "a", ([9, 7], "vild"), "")]
    grid = load_grid(grid_file(tmp_path / "mix.csv", ["x.y", "z"], rows))
    assert grid.keys == ("x.y", "z")
    error = 100 * np.std([0.40, 0.42, 0.47], ddof=1) / np.sqrt(3)
    (table,) = grid_tables(grid)  # the other kinds of mIoU have the same numbers
    assert table.title == "Grid mix: mIoU"
    assert table.header == ("y", "z", "seeds", "a", "b")
    assert {table.rows[row][column] for row, column in table.best} == {f"43.00 ± {error:.2f}"}
    assert cells(table, "0.5", "vild") == ["1–3", f"43.00 ± {error:.2f}", "10.00"]
    assert cells(table, "[9, 7]", "vild") == ["1", "30.00", "–"]
    values = grid_values(grid)
    assert cells(values, "0.5", "vild", "a", "miou") == ["43.00", f"{error:.2f}", "3"]
    assert cells(values, "[9, 7]", "vild", "b", "miou") == ["–", "–", "0"]
    assert cells(values, "0.5", "vild", "a", "sg_iou") == ["–", "–", "0"]


def test_grid_without_varied_keys(tmp_path):
    rows = [(seed, "a", (), 0.4) for seed in range(3)]
    grid = load_grid(grid_file(tmp_path / "repeated.csv", [], rows))
    assert grid_tables(grid)[0].rows == (("3", "40.00 ± 0.00"),)


def test_the_recipes_own_setting_is_marked(tmp_path):
    rows = [(0, b, (v,), v / 2) for b in "ab" for v in (0.1, 0.2)]
    path = grid_file(
        tmp_path / "w.csv", ["inference.clip_weight"], rows, own=[("a", 0.2), ("b", 0.2)]
    )
    grid = load_grid(path)
    (table,) = grid_tables(grid)
    assert [row[0] for row in table.rows] == ["0.1", f"0.2 {OWN}"]
    assert f"{OWN}: the recipe's own setting" in table.note
    assert table.header[0] == "ensemble weight of CLIP"
    left, right = grid_figure(grid).axes
    assert [line.get_xdata() for line in left.lines if len(line.get_xdata()) == 2][-1] == [0.2, 0.2]
    assert right.get_ylabel() == "change from 0.2, percentage points"
    # Another value on each benchmark: the cells are marked, not the row.
    path = grid_file(
        tmp_path / "w.csv", ["inference.clip_weight"], rows, own=[("a", 0.1), ("b", 0.2)]
    )
    (table,) = grid_tables(load_grid(path))
    assert table.rows == (
        ("0.1", "1", f"5.00 {OWN}", "5.00"),
        ("0.2", "1", "10.00", f"10.00 {OWN}"),
    )


def test_noise_is_not_stretched_over_the_axis(tmp_path):
    rows = [(0, "a", (v,), 0.3 + v / 1000) for v in (0.1, 0.5, 0.9)]
    _, right = grid_figure(load_grid(grid_file(tmp_path / "w.csv", ["w"], rows))).axes
    low, high = right.get_ylim()
    assert high - low >= 2, "0.08 points on an axis of at least two"


def test_estimate():
    assert estimate([1.0, 3.0]).error == pytest.approx(1.0)
    assert math.isnan(estimate([1.0]).error)
    assert math.isnan(estimate([]).mean)


def test_formats():
    table = Table("A & B", ("name", "value"), (("a_b|c", "−1.50"), ("d", "–")), 1, "`x` ± y.")
    assert list(csv.reader(StringIO(table.csv()))) == [
        ["name", "value"],
        ["a_b|c", "-1.50"],
        ["d", "–"],
    ]
    assert "| a_b\\|c | −1.50 |" in table.markdown()
    assert "| --- | ---: |" in table.markdown()
    latex = table.latex()
    assert r"a\_b|c & $-$1.50 \\" in latex
    assert r"d & -- \\" in latex
    assert r"\caption{A \& B. x $\pm$ y.}" in latex
    page = ElementTree.fromstring(html_page([table, table]))
    assert [cell.text for cell in page.find("body/table/tbody/tr")] == ["a_b|c", "−1.50"]
    assert [title.text for title in page.iter("h1")] == ["A & B"] * 2
    assert per_cent(0.12345) == "12.35"
    assert [difference(v) for v in (1.234, -0.004, -2, math.nan)] == [
        "+1.23",
        "+0.00",
        "−2.00",
        "–",
    ]


def test_metrics_that_dvc_shows_are_few_and_in_per_cent(tmp_path):
    (voc,) = load_evaluations([evaluation(tmp_path, "voc_20b", **EMPTY)])
    assert json.loads(benchmark_metrics(voc)) == {
        **dict.fromkeys(("miou", "miou_d2_v06", "sg_iou"), 25.0),
        **dict.fromkeys(("in_vocabulary_miou", "clip_only_miou"), 12.5),
    }


def test_tables_of_the_command_line(tmp_path):
    paths = [evaluation(tmp_path, "mini_ade_36"), evaluation(tmp_path, "mini_voc_10")]
    grid = grid_file(tmp_path / "weights.csv", ["w"], [(0, "a", (0.5,), 0.1)])
    frozen = tmp_path / "recipe.json"
    frozen.write_text(json.dumps({"params": {"recipe": "mini"}}))
    command = [
        *(sys.executable, "-m", "workflow_scripts.tables", "--recipe-file", str(frozen)),
        *("--evaluation", *map(str, paths), "--ablation", str(grid), "--architecture", "small"),
        *("--output-folder", str(tmp_path / "out"), "--metrics-folder", str(tmp_path / "all")),
    ]
    root = Path(__file__).parents[1]
    subprocess.run(command, check=True, cwd=root, capture_output=True)
    stems = ("main", "details", "published")
    expected = {f"{stem}.{kind}" for stem in stems for kind in ("csv", "md", "tex", "html")}
    expected |= {f"ablation_weights.{kind}" for kind in ("csv", "md", "tex", "html")}
    expected |= {"combined.csv", "recipe.json"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == expected
    stems = {path.stem for path in (tmp_path / "all").glob("*.json")}
    assert stems == {"mini_ade_36", "mini_voc_10"}
    paths[1].write_text("{}")
    failed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert str(paths[1]) in failed.stderr
    assert "Traceback" not in failed.stderr


def test_reporting_needs_no_heavy_library():
    script = (
        "import sys, workflow_scripts.tables, workflow_scripts.figures, "
        "workflow_scripts.qualitative; print([m for m in ('torch', 'matplotlib.pyplot') "
        "if m in sys.modules])"
    )
    command = [sys.executable, "-c", script]
    root = Path(__file__).parents[1]
    done = subprocess.run(command, check=True, cwd=root, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


# What is refused


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ('{"results": {}}', "lacks the key 'recipe'"),
        ('{"results": {"combined": {"miou": 0.4}}}', "lacks the key 'miou_d2_v06'"),
        ('{"results": {"combined": {"miou": 41.2}}}', "expected a fraction"),
        ('{"results": {"combined": {"miou": "0.4"}}}', "expected a fraction"),
        ('{"results": {"guess": {}}}', "results of 'guess'"),
    ],
)
def test_damaged_evaluation(tmp_path, text, says):
    path = tmp_path / "metrics.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"metrics\.json.*" + says):
        load_evaluations([path])


def test_evaluations_that_do_not_belong_together(tmp_path):
    first = evaluation(tmp_path / "1", "a")
    with pytest.raises(InputError, match="both of the benchmark a"):
        load_evaluations([first, evaluation(tmp_path / "2", "a")])
    with pytest.raises(InputError, match="of one model"):
        load_evaluations([first, evaluation(tmp_path / "3", "b", recipe="vitl14")])
    with pytest.raises(InputError, match="expected 'vitb16'"):
        write_tables(load_evaluations([first]), [], "vitb16", "ViT-B-16", tmp_path)
    grid = load_grid(grid_file(tmp_path / "g.csv", ["w"], [(0, "a", (0.5,), 0.1)]))
    with pytest.raises(InputError, match="'g' is given twice"):
        write_tables(load_evaluations([first]), [grid, grid], "mini", "small", tmp_path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("grid,seed", "grid,sead"), "lacks the column 'seed'"),
        (("g,0,a,0.5", "g,0,a,half"), "row 2 is damaged"),
        (("g,0,a,0.5", "h,0,a,0.5"), "row 3 is of the grid 'g'"),
        (("g,1,a", "g,0,a"), "were there before"),
        (("0.1,0.1", "10,0.1"), "row 2.*expected a fraction"),
        ((",0.2,,,,false\r\n", "\r\n"), "longer or shorter"),
    ],
)
def test_damaged_grid(tmp_path, change, says):
    rows = [(0, "a", (0.5,), 0.1), (1, "a", (0.5,), 0.2)]
    path = grid_file(tmp_path / "g.csv", ["w"], rows)
    text = path.read_bytes().decode()
    changed = text.replace(*change)
    assert changed != text
    path.write_bytes(changed.encode())
    with pytest.raises(InputError, match=r"g\.csv.*" + says):
        load_grid(path)


def test_missing_files_are_named(tmp_path):
    missing = tmp_path / "missing"
    for load in (load_grid, load_per_class, load_confusion, load_curves, load_published):
        with pytest.raises(InputError, match="missing"):
            load(missing)
    with pytest.raises(InputError, match="missing"):
        load_evaluations([missing])


def test_damaged_class_table_confusion_and_curves(tmp_path):
    path = tmp_path / "file"
    path.write_text("name,seen,iou\nsky,maybe,0.5\n")
    with pytest.raises(InputError, match="file is damaged"):
        load_per_class(path)
    path.write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(InputError, match="file cannot be read"):
        load_confusion(path)
    for text in ('{"loss": 1}', '{"step": 1, "loss": [1]}', '{"step": 1, "lo', "3"):
        path.write_text(f'{{"step": 0, "loss": 2}}\n{text}\n')
        with pytest.raises(InputError, match="file, line 2"):
            load_curves(path)


# Figures

CLASSES = [
    ClassResult("sky", True, 0.9),
    ClassResult("kite, toy", False, 0.2),
    ClassResult("sea", True, 0.5),
    ClassResult("absent", False, math.nan),
]


def test_per_class_bars_are_sorted_and_coloured():
    figure = per_class_figure(CLASSES, "mini")
    (axis,) = figure.axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["sky", "sea", "kite"]
    assert [bar.get_width() for bar in axis.patches] == pytest.approx([90, 50, 20])
    sky, sea, kite = (bar.get_facecolor() for bar in axis.patches)
    assert sky == sea != kite
    assert "1 more without ground truth" in figure.get_suptitle()
    (legend,) = figure.legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts == ["seen: 2 classes, mean 70.0", "unseen: 1 classes, mean 20.0"]


@pytest.mark.parametrize("number", [0, 46, 200])
def test_per_class_bars_of_any_number_of_classes(tmp_path, number):
    classes = [ClassResult(f"class {i}", None, i / 200) for i in range(number)]
    figure = per_class_figure(classes, "many")
    assert sum(len(axis.patches) for axis in figure.axes) == number
    save_figure(figure, tmp_path, "many")
    width, height = looks_drawn(tmp_path / "many.png")
    assert width < 2000
    assert height < 2000


def test_seen_and_unseen_bars(tmp_path):
    paths = [
        evaluation(tmp_path, "a", miou=0.4, miou_seen=0.6, miou_unseen=0.2),
        evaluation(tmp_path, "b", miou=0.3, **EMPTY),
    ]
    figure = seen_unseen_figure(load_evaluations(paths))
    first, second = figure.axes
    heights = [bar.get_height() for bar in first.patches]
    assert heights == pytest.approx([20, 20, 40, 30, 30, 60, 10, 10, 20])
    assert [bar.get_height() for bar in second.patches] == pytest.approx([15, 15, 30])
    (legend,) = figure.legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts == ["all classes", "seen", "unseen", "chance"]


def test_confused_pairs():
    counts = np.zeros((5, 5), np.int64)
    counts[:4, :4] = np.diag([70, 10, 40, 0])
    counts[2, 0] = 30  # sky taken for sea
    counts[0, 1] = 90  # kite taken for sky
    counts[1, 4] = 500  # without ground truth
    figure = confusion_figure(counts, CLASSES, "mini")
    (axis,) = figure.axes
    names = [label.get_text().split("  →  ") for label in axis.get_yticklabels()]
    assert names == [["kite", "sky"], ["sky", "sea"]]
    assert [bar.get_width() for bar in axis.patches] == pytest.approx([90, 30])
    with pytest.raises(InputError, match="evaluate mini again"):
        confusion_figure(counts[1:, 1:], CLASSES, "mini")


def test_curves_over_numbers_and_bars_over_the_rest(tmp_path):
    rows = [(s, "a", (v,), 0.4 + v / 10 + s / 100) for s in (0, 1) for v in (1, 0.5, 0)]
    figure = grid_figure(load_grid(grid_file(tmp_path / "curve.csv", ["w"], rows)))
    left, right = figure.axes
    assert left.get_xlabel() == "W"
    line, change = left.containers[0][0], right.containers[0][0]
    assert line.get_xdata() == pytest.approx([0, 0.5, 1])
    assert line.get_ydata() == pytest.approx([40.5, 45.5, 50.5])
    assert change.get_ydata() == pytest.approx([0, 5, 10])
    # Every seed gains the same: no error bar is left, whatever lies between the seeds.
    ends = [segment[:, 1] for segment in right.containers[0][2][0].get_segments()]
    assert np.ptp(ends, axis=1) == pytest.approx([0, 0, 0], abs=1e-9)

    rows = [(0, b, (v,), 0.3) for b in "ab" for v in (True, False)]
    (axis,) = grid_figure(load_grid(grid_file(tmp_path / "bars.csv", ["on"], rows))).axes
    assert [label.get_text() for label in axis.get_xticklabels()] == ["a", "b"]
    assert [bar.get_height() for bar in axis.patches] == pytest.approx([30] * 4)


def test_training_curves(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = [{"step": s, "loss": 3 - s / 100, "learning_rate": 1e-3} for s in (10, 20, 30)]
    lines += [{"step": 20, "loss": 9.0}, {"step": 30, "validation_miou": 0.3}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    curves = load_curves(path)
    assert curves["loss"] == {10: 2.9, 20: 9.0, 30: 2.7}
    labels = [axis.get_ylabel() for axis in training_figure(curves, "segmenter").axes]
    assert labels == ["loss", "validation, %", "learning rate"]
    loss, validation, _ = training_figure(curves, "segmenter").axes
    assert loss.get_xlim()[0] < 0, "a first point at step 0 is not cut"
    assert validation.lines[0].get_ydata() == pytest.approx([30])
    long = {"loss": dict.fromkeys(range(1000), 1.0)}
    (axis,) = training_figure(long, "long").axes
    noise, mean = axis.lines
    assert mean.get_ydata() == pytest.approx(np.ones(1000))
    assert len(noise.get_ydata()) == 1000


def test_every_figure_is_written_and_repeats(tmp_path):
    classes = load_class_list("mini_voc_10")
    counts = np.random.default_rng(0).integers(0, 99, (11, 11))
    folder = tmp_path / "mini_voc_10"
    folder.mkdir()
    np.savez(folder / "confusion.npz", counts=counts)
    (folder / "per_class.csv").write_text(per_class_table(counts, classes))
    curves = tmp_path / "metrics.jsonl"
    curves.write_text('{"step": 1, "loss": 2.0}\n')
    arguments = {
        "evaluations": [evaluation(tmp_path, "mini_voc_10")],
        "per_class": [folder / "per_class.csv"],
        "confusions": [folder / "confusion.npz"],
        "grids": [grid_file(tmp_path / "w.csv", ["w"], [(0, "a", (0.5,), 0.1)])],
        "curves": {"segmenter": curves},
    }
    names = draw_figures(**arguments, output_folder=tmp_path / "1")
    assert names == [
        *("seen_unseen", "per_class_mini_voc_10", "confusion_mini_voc_10"),
        *("ablation_w", "curves_segmenter"),
    ]
    draw_figures(**arguments, output_folder=tmp_path / "2")
    for name in names:
        width, height = looks_drawn(tmp_path / f"1/{name}.png")
        assert 500 < width < 2500
        assert 300 < height < 2000
        for suffix in ("png", "pdf", "svg"):
            once, again = (tmp_path / n / f"{name}.{suffix}" for n in "12")
            assert once.read_bytes() == again.read_bytes()
    with pytest.raises(InputError, match=r"confusion\.npz holds no class names"):
        draw_figures(**arguments | {"per_class": []}, output_folder=tmp_path / "3")


# Panels


@pytest.fixture
def benchmark(tmp_path):
    """Five images of 24 x 16 pixels with vertical stripes of classes, and predictions of them."""
    stripes = [(0, 0), (0, 1), (2, 3, 3, 255), (0, 1, 2), (1, 1)]
    samples = []
    for number, values in enumerate(stripes):
        label = np.repeat(np.array(values, np.uint8), 24 // len(values))[None].repeat(16, axis=0)
        photo = np.random.default_rng(number).integers(0, 256, (16, 24, 3), np.uint8)
        save(tmp_path / f"labels/{number}.png", label)
        save(tmp_path / f"images/{number}.png", photo)
        samples.append(Sample(str(number), f"{number}.png", f"{number}.png", 24, 16))
        for mode in PREDICTIONS:
            save(tmp_path / f"predictions/{mode}/{number}.png", np.where(label == 255, 0, label))
    names = ("sky", "sea", "kite, toy", "boat")
    split = Split("images", "labels", tuple(samples), {})
    index = BenchmarkIndex("stripes", "coco_stuff", "stripes", names, 255, {"val": split})
    index.save(tmp_path / "index.json")
    classes = {"names": names, "raw_ids": [0, 1, 2, 3], "seen": [True, True, False, True]}
    (tmp_path / "stripes.json").write_text(json.dumps(classes))
    return tmp_path


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8 if pixels.ndim == 3 else pixels.dtype)).save(path)


def draw(folder: Path, number: int = 2) -> Path:
    images = BenchmarkImages(folder / "index.json", "val")
    classes = load_class_list(str(folder / "stripes.json"))
    output = folder / "panels.png"
    draw_panels(images, classes, folder / "predictions", number, output)
    return output


def test_images_with_many_and_with_new_classes_are_chosen(benchmark):
    images = BenchmarkImages(benchmark / "index.json", "val")
    # Three classes; then two, of which one is new, before two known ones.
    assert choose_images(images, range(5), 3) == [3, 2, 1]
    assert choose_images(images, [0, 4], 9) == [0, 4]


def test_panels_show_maps_in_the_same_colours(benchmark):
    path = draw(benchmark)
    width, height = looks_drawn(path)
    assert width == 5 * 256 + 6 * 10
    assert height > 2 * 170  # two rows of 256 x 171 pixels, and legends
    with Image.open(path) as picture:
        pixels = np.asarray(picture)
    truth, *predictions = (
        pixels[34:204, 10 + column * 266 : 266 + column * 266] for column in range(1, 5)
    )
    for prediction in predictions:
        assert (prediction == truth).all()
    repeated = path.read_bytes()
    assert draw(benchmark).read_bytes() == repeated


def test_wrong_pixels_are_hatched(benchmark):
    wrong = np.zeros((16, 24), np.uint16)  # sky, where there is sky, sea, and kite
    save(benchmark / "predictions/clip_only/3.png", wrong)
    with Image.open(draw(benchmark, 1)) as picture:
        pixels = np.asarray(picture.convert("L"))
    tile = pixels[34:204, 10 + 3 * 266 : 266 + 3 * 266]
    right, mistaken = tile[:, 2:80], tile[:, 90:250]
    assert (right < 60).mean() < 0.05
    assert (mistaken < 60).mean() > 0.1


def test_predictions_among_more_classes_than_are_scored(benchmark):
    record = json.loads((benchmark / "stripes.json").read_text())
    (benchmark / "stripes.json").write_text(json.dumps(record | {"predict_with": "context_59"}))
    for mode in PREDICTIONS:
        save(benchmark / f"predictions/{mode}/3.png", np.full((16, 24), 57, np.uint8))
    looks_drawn(draw(benchmark))


def test_predictions_that_do_not_fit(benchmark):
    path = benchmark / "predictions/combined/3.png"
    save(path, np.full((16, 24), 4, np.uint8))
    with pytest.raises(InputError, match=r"combined/3\.png holds the id 4"):
        draw(benchmark)
    save(path, np.zeros((8, 24), np.uint8))
    with pytest.raises(InputError, match=r"combined/3\.png has the shape"):
        draw(benchmark)
    path.write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"combined/3\.png is no image"):
        draw(benchmark)
    path.unlink()  # an image without all predictions is not chosen
    draw(benchmark)
    for left in path.parent.iterdir():
        left.unlink()
    with pytest.raises(InputError, match="predictions of no image"):
        draw(benchmark)


def test_panels_of_another_class_list(benchmark):
    images = BenchmarkImages(benchmark / "index.json", "val")
    classes = load_class_list("mini_voc_10")
    with pytest.raises(InputError, match="class list mini_voc_10 10"):
        draw_panels(images, classes, benchmark / "predictions", 2, benchmark / "panels.png")
