"""Views of MLflow's pages: which runs and columns stand beside each other, one click away.

MLflow's page keeps a saved view as a tag of the experiment; this is the form of MLflow 3.17.
"""

import base64
import json
import zlib
from collections.abc import Sequence
from typing import Any

from scan_core.tracking.runs import Run

PREFIX = "mlflow.sharedViewState."
_GRID_METRICS = ("miou", "sg_iou", "miou_unseen")


def views_of(run: Run) -> dict[str, str]:
    """The tags of an experiment that save the views of a run.

    A grid has one: its cells in their order, the varied values, the mean IoU of every benchmark,
    then the other metrics. Another run has none.

    Args:
        run: with its children.
    """
    if not run.children:
        return {}
    metrics = run.children[0].metrics
    named = [name.rpartition("/") for name in metrics]
    columns = [f"params.`{key.removeprefix('vary.')}`" for key in run.params if key != "seeds"]
    columns.append("tags.`seed`")
    for metric in _GRID_METRICS:
        columns += [f"metrics.`{b}/{metric}`" for b, _, name in named if name == metric]
    wanted = f"tags.grid = '{run.tags['grid']}' AND tags.stage = 'cell'"
    key = run.key.replace("/", "_")
    return {f"{PREFIX}{key}": _saved(run.name, _state(wanted, columns))}


def _state(wanted: str, columns: Sequence[str]) -> dict[str, Any]:
    widths = {"attributes.`Run Name`": 240}  # pixels
    widths |= {column: 8 * len(column.split("`")[1]) + 40 for column in columns}
    widths |= {"runDateAndNestInfo": 160, "duration": 90}
    return {
        "searchFilter": wanted,
        # By any key but the time: by time, the page hides runs below their parent.
        "orderByKey": columns[0],
        "orderByAsc": True,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": list(columns),
        "columnOrder": list(widths),
        "columnWidths": widths,
        "runsHiddenMode": "FIRST_20_RUNS",
        "viewMaximized": False,
        "runListHidden": False,
        "isAccordionReordered": False,
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "groupBy": None,
        "groupsExpanded": {},
        "globalLineChartConfig": {
            "xAxisKey": "step",
            "lineSmoothness": 0,
            "selectedXAxisMetricKey": "",
        },
    }


def _saved(name: str, state: dict[str, Any]) -> str:
    packed = base64.b64encode(zlib.compress(json.dumps(state).encode())).decode()
    # Dates are shown nowhere but needed; constant ones, so that equal views have equal texts.
    return json.dumps({"name": name, "createdAt": 0, "updatedAt": 0, "state": f"deflate;{packed}"})
