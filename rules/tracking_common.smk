"""What is recorded in MLflow, and where."""

from scan_core.tracking.place import failures, target


def cells_of_grids(grids, every_seed):
    return [
        cell
        for grid in grids
        for cell in CELLS[grid]
        if every_seed or cell.seed == RECIPE.seed
    ]


def records_of_trainings(cells):
    """The curves of every training that cells of grids come from."""
    folders = []
    for cell in cells:
        folders += [
            f"{RESULTS}/clip/{cell.names['clip']}/metrics.jsonl",
            f"{RESULTS}/segmenter/{cell.names['segmenter']}/metrics.jsonl",
            f"{RESULTS}/finetuned_clip/{cell.names['finetuned']}/metrics.jsonl",
        ]
    return list(dict.fromkeys(folders))


def grid_file(grids):
    """A file of grids, for the recorder."""
    return addressed({grid: GRIDS[grid].model_dump() for grid in grids})
