"""MLflow: a store in the run's folder, or the server that the environment names."""

from __future__ import annotations

import os
import posixpath
import re
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mmkit.trackers import Tracked, Tracker
from mmkit_trackers.forms import flat
from mmkit_trackers.needs import need, prefer

if TYPE_CHECKING:
    from mlflow import MlflowClient

PARAMETERS, METRICS = 100, 1000
"""How many of them MLflow takes at once."""
LONGEST = 6000
"""Characters of a parameter's value."""
STATUS = {"completed": "FINISHED", "stopped": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}


class MLflow(Tracker):
    """Metrics, the recipe's settings as parameters, and recipe and tables as artifacts.

    The experiment is called like the recipe. Only `MLFLOW_TRACKING_URI` names a server; without it everything is in
    `trackers/mlflow/mlruns`. MLflow's own telemetry is off unless the environment turns it on.
    """

    _client: MlflowClient
    _id: str
    _uri: str

    @classmethod
    def check_there(cls) -> None:
        """See that the package mlflow (or mlflow-skinny) is installed."""
        need("mlflow", "mlflow")

    def start(self, run: Tracked) -> str:
        """Begin a run, or go on with one that the store knows."""
        prefer(
            MLFLOW_DISABLE_TELEMETRY="true",
            MLFLOW_ALLOW_FILE_STORE="true",
            MLFLOW_HTTP_REQUEST_TIMEOUT="10",
            MLFLOW_HTTP_REQUEST_MAX_RETRIES="3",
        )
        from mlflow import MlflowClient

        self._uri = os.environ.get("MLFLOW_TRACKING_URI") or (run.folder / "mlruns").absolute().as_uri()
        self._client = MlflowClient(tracking_uri=self._uri)
        if run.id and self._knows(run.id):
            self._id = run.id
            self._client.update_run(run.id, status="RUNNING")
            return run.id
        found = self._client.get_experiment_by_name(run.project)
        experiment = found.experiment_id if found else self._client.create_experiment(run.project)
        self._id = self._client.create_run(experiment, run_name=run.name).info.run_id
        self._parameters(run.config)
        return self._id

    def _knows(self, id: str) -> bool:
        from mlflow.exceptions import MlflowException

        try:
            stage: str = self._client.get_run(id).info.lifecycle_stage
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return False
            raise
        return stage == "active"

    def _parameters(self, config: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        parameters = [Param(key(name), value[:LONGEST]) for name, value in flat(config)]
        for i in range(0, len(parameters), PARAMETERS):
            self._client.log_batch(self._id, params=parameters[i : i + PARAMETERS])

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(key(name), value, now, step) for name, value in values.items()]
        for i in range(0, len(metrics), METRICS):
            self._client.log_batch(self._id, metrics=metrics[i : i + METRICS])

    def text(self, name: str, text: str, step: int) -> None:
        self._client.log_text(self._id, text, f"{name}.txt")

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], step: int) -> None:
        """In the form of `mlflow.log_table`, which MLflow's page shows as a table."""
        content = {"columns": list(columns), "data": [list(row) for row in rows]}
        self._client.log_dict(self._id, content, f"{name}.json")

    def finish(self, status: str) -> None:
        self._client.set_tag(self._id, "mmkit.status", status)
        self._client.set_terminated(self._id, STATUS.get(status, "FINISHED"))

    def place(self) -> str:
        if self._uri.startswith("file:"):
            return f"MLFLOW_ALLOW_FILE_STORE=true mlflow ui --backend-store-uri {self._uri}"
        return self._uri


def key(name: str) -> str:
    """A name as MLflow takes it: without `@`, other characters as their number, and no path that leads elsewhere."""
    taken = re.sub(r"[^\w\-./ ]", lambda found: f"-{ord(found[0]):x}-", name.replace("@", ""))
    return (
        taken
        if posixpath.normpath(taken) == taken and not taken.startswith("/")
        else taken.replace("/", "-2f-")
    )
