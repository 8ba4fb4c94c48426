"""Runs in MLflow, the only part that calls it: where they are, what is recorded, and when."""

import os

# MLflow's defaults would hold a process for minutes at a server that is gone, report to its makers,
# and print where every run can be seen. It reads these when it is imported, which only some of
# the modules here do.
for _name, _value in {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "false",
}.items():
    os.environ.setdefault(_name, _value)
