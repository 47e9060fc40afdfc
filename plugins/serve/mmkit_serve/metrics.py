"""What a server counts and times, in the text form that Prometheus reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from mmkit_serve.runs import ServedRun
from mmkit_serve.worker import Observer

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
TYPE = CONTENT_TYPE_LATEST


class Metrics(Observer):
    """The metrics of one server. Labels are its own routes and runs, never what a client sends."""

    def __init__(self, runs: Iterable[ServedRun], waiting: Callable[[], int]) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        own = {"registry": self.registry}
        self.requests = Counter("mmkit_requests", "Requests answered.", ["route", "run", "status"], **own)
        self.seconds = Histogram(
            "mmkit_request_seconds", "From a request's head to its answer.", ["route"], buckets=SECONDS, **own
        )
        self.sizes = Histogram("mmkit_batch_size", "Texts computed together.", ["run"], buckets=SIZES, **own)
        self.waited = Histogram(
            "mmkit_queue_seconds", "How long a text waited for the model.", ["run"], buckets=SECONDS, **own
        )
        self.computed = Histogram(
            "mmkit_model_seconds", "How long a batch was computed.", ["run"], buckets=SECONDS, **own
        )
        self.open = Gauge("mmkit_requests_open", "Requests that are not answered yet.", **own)
        Gauge("mmkit_queue_length", "Texts that wait for the model.", **own).set_function(waiting)
        info = Gauge("mmkit_run_info", "The runs that are served.", ["run", "version", "task"], **own)
        for run in runs:
            info.labels(run.name, run.version, run.task.name).set(1)

    def batch(self, run: str, size: int, waited: Sequence[float], seconds: float) -> None:
        """A batch was computed."""
        self.sizes.labels(run).observe(size)
        self.computed.labels(run).observe(seconds)
        for one in waited:
            self.waited.labels(run).observe(one)

    def answered(self, route: str, run: str, status: int, seconds: float) -> None:
        """A request was answered."""
        self.requests.labels(route, run, str(status)).inc()
        self.seconds.labels(route).observe(seconds)

    def text(self) -> bytes:
        """All metrics."""
        return generate_latest(self.registry)
