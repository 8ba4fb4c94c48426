"""How long each stage of a run took, as Snakemake measured it."""

from pathlib import Path

from scan_core.params.command_line import run


def stage_times(timings: Path, whole: float | None = None) -> None:
    """Print how long each stage of a run took, as Snakemake measured it.

    Args:
        timings: results/<recipe>/timings.
        whole: seconds of the run as a whole, to be printed.
    """
    from scan_core.reporting.results import load_timings

    table = load_timings(timings)
    table.loc["all jobs"] = table.sum()
    table = table.astype({"jobs": int}).rename(columns={"processor_seconds": "processor s"})
    print(table.to_string(float_format="%.1f", index_names=False))
    if whole is not None:
        minutes, seconds = divmod(round(whole), 60)
        print(f"The whole run took {minutes} min {seconds} s; several jobs run side by side.")


if __name__ == "__main__":
    run(stage_times)
