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
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)

        def counter(name: str, about: str, *labels: str) -> Counter:
            return Counter(name, about, labels, registry=registry)

        def gauge(name: str, about: str, *labels: str) -> Gauge:
            return Gauge(name, about, labels, registry=registry)

        def histogram(name: str, about: str, label: str, buckets: Sequence[float] = SECONDS) -> Histogram:
            return Histogram(name, about, [label], buckets=buckets, registry=registry)

        self.requests = counter("mmkit_requests", "Requests answered.", "route", "run", "status")
        self.seconds = histogram("mmkit_request_seconds", "From a request's head to its answer.", "route")
        self.sizes = histogram("mmkit_batch_size", "Texts computed together.", "run", SIZES)
        self.waited = histogram("mmkit_queue_seconds", "How long a text waited for the model.", "run")
        self.computed = histogram("mmkit_model_seconds", "How long a batch was computed.", "run")
        self.open = gauge("mmkit_requests_open", "Requests that are not answered yet.")
        gauge("mmkit_queue_length", "Texts that wait for the model.").set_function(waiting)
        info = gauge("mmkit_run_info", "The runs that are served.", "run", "version", "task")
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
