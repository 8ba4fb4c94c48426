"""Record a recipe's runs in MLflow, each once."""

from pathlib import Path

from scan_core.errors import InputError
from scan_core.params.command_line import run
from scan_core.storage.files import read_json, write_json
from scan_core.tracking.store import reason, shown_uri, when


def mlflow_sync(results: Path, output: Path) -> None:
    """Record a recipe's runs in MLflow, each once; what is recorded already is left alone.

    The store is that of MLFLOW_TRACKING_URI, by default mlflow.db.

    Args:
        results: JSON file that says what there is to record, as the rule writes it.
        output: JSON file: what was recorded where.
    """
    record = {"store": shown_uri(), "runs": {}}
    if when() != "off":
        from scan_core.tracking.runs import Results  # imports pandas
        from scan_core.tracking.sync import STORE_ERRORS, sync  # imports MLflow

        described = Results.model_validate(read_json(results, "run the rule again"))
        try:
            record["runs"] = sync(described)
        except STORE_ERRORS as error:
            raise InputError(
                f"the runs are not recorded in {shown_uri()} ({reason(error)}). The results are "
                "complete, only this record is missing: give the same command again once the "
                "store answers, or set SCAN_TRACKING=off to do without"
            ) from None
    write_json(output, record)


if __name__ == "__main__":
    run(mlflow_sync)
