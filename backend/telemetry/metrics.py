"""What is counted and timed, in the Prometheus text format.

Every label has a bounded set of values: route templates instead of paths, codes of our own error
tree, provider names, priorities.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder

_QUICK_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_SLOW_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600)
_METHODS = frozenset("GET HEAD POST PUT PATCH DELETE OPTIONS".split())
_DECAY = 0.8


@dataclass(slots=True)
class _Speed:
    """Exponentially weighted sums, so that an answer weighs as much as it is long."""

    tokens: float = 0.0
    seconds: float = 0.0

    def add(self, tokens: float, seconds: float) -> None:
        self.tokens = self.tokens * _DECAY + tokens
        self.seconds = self.seconds * _DECAY + seconds

    @property
    def tokens_per_second(self) -> float | None:
        return self.tokens / self.seconds if self.seconds > 0 else None


@dataclass(frozen=True, slots=True)
class Generated:
    """One finished generation.

    ``first_token_s`` is None where the answer came as a whole; ``deltas`` are the pieces it came
    in: one piece says nothing about the speed of writing.
    """

    prompt_tokens: int
    completion_tokens: int
    seconds: float
    first_token_s: float | None = None
    deltas: int = 0

    @property
    def writing_s(self) -> float | None:
        """Time after the first token."""
        if self.first_token_s is None or min(self.deltas, self.completion_tokens) < 2:
            return None
        return self.seconds - self.first_token_s


class Metrics:
    """Own registry: two applications in one process do not count for each other."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._streamed: dict[str, _Speed] = {}
        self._whole: dict[str, _Speed] = {}
        self._lock = threading.Lock()
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "quadrate_requests",
            "HTTP requests that ended.",
            ("route", "method", "status"),
            registry=registry,
        )
        self._request_failures = Counter(
            "quadrate_request_failures",
            "HTTP requests that ended with an error, inside a stream too.",
            ("route", "code"),
            registry=registry,
        )
        self._request_seconds = Histogram(
            "quadrate_request_seconds",
            "From the request's first byte to the response's last.",
            ("route",),
            buckets=_QUICK_S,
            registry=registry,
        )
        self._stage_seconds = Histogram(
            "quadrate_stage_seconds",
            "Stages of a request.",
            ("stage",),
            buckets=_QUICK_S,
            registry=registry,
        )
        self._cache_hits = Counter(
            "quadrate_cache_hits", "Found in a cache.", ("cache",), registry=registry
        )
        self._cache_misses = Counter(
            "quadrate_cache_misses", "Not found in a cache.", ("cache",), registry=registry
        )
        self._citations = Counter(
            "quadrate_citations",
            "Citations in answers, by what checking them found.",
            ("status",),
            registry=registry,
        )
        self._add_generation(registry)
        self._add_queue(registry)

    def _add_generation(self, registry: CollectorRegistry) -> None:
        self._first_token_seconds = Histogram(
            "quadrate_time_to_first_token_seconds",
            "From sending the prompt to the first token.",
            ("provider",),
            buckets=_SLOW_S,
            registry=registry,
        )
        self._generation_seconds = Histogram(
            "quadrate_generation_seconds",
            "From sending the prompt to the last token, without our queue.",
            ("provider",),
            buckets=_SLOW_S,
            registry=registry,
        )
        self._generation_failures = Counter(
            "quadrate_generation_failures",
            "Generations that ended without an answer.",
            ("provider", "code"),
            registry=registry,
        )
        self._prompt_tokens = Counter(
            "quadrate_prompt_tokens",
            "Prompt tokens as the model server counts them.",
            ("provider",),
            registry=registry,
        )
        self._completion_tokens = Counter(
            "quadrate_completion_tokens",
            "Answer tokens as the model server counts them, reasoning included.",
            ("provider",),
            registry=registry,
        )

    def _add_queue(self, registry: CollectorRegistry) -> None:
        self._queue_waiting = Gauge(
            "quadrate_queue_waiting_requests",
            "Generations that wait for the model.",
            ("priority",),
            registry=registry,
        )
        self._queue_running = Gauge(
            "quadrate_queue_running_requests",
            "Generations at the model.",
            ("priority",),
            registry=registry,
        )
        self._queue_wait_seconds = Histogram(
            "quadrate_queue_wait_seconds",
            "Time a generation waited for the model.",
            ("priority",),
            buckets=_QUICK_S,
            registry=registry,
        )

    # --- requests --------------------------------------------------------------------------------

    def request(
        self, *, route: str, method: str, status: int, seconds: float, failure: str | None
    ) -> None:
        """``route`` is a template; ``failure`` the code of the error it ended with."""
        known = method if method in _METHODS else "other"
        self._requests.labels(route, known, str(status)).inc()
        self._request_seconds.labels(route).observe(seconds)
        if failure is not None:
            self._request_failures.labels(route, failure).inc()

    def observe_timings(self, timings: Mapping[str, float]) -> None:
        """Seconds by stage."""
        for stage, seconds in timings.items():
            self._stage_seconds.labels(stage).observe(seconds)

    def cache(self, cache: str, hit: bool) -> None:
        (self._cache_hits if hit else self._cache_misses).labels(cache).inc()

    def observe_citations(self, statuses: Iterable[str]) -> None:
        for status in statuses:
            self._citations.labels(status).inc()

    # --- the queue in front of the model ---------------------------------------------------------

    def watch_queue(
        self, priority: str, *, waiting: Callable[[], int], running: Callable[[], int]
    ) -> None:
        """Both are called whenever the metrics are read."""
        self._queue_waiting.labels(priority).set_function(waiting)
        self._queue_running.labels(priority).set_function(running)

    def queue_wait(self, priority: str, seconds: float) -> None:
        self._queue_wait_seconds.labels(priority).observe(seconds)

    # --- generation ------------------------------------------------------------------------------

    def generated(self, provider: str, done: Generated) -> None:
        self._generation_seconds.labels(provider).observe(done.seconds)
        self._prompt_tokens.labels(provider).inc(done.prompt_tokens)
        self._completion_tokens.labels(provider).inc(done.completion_tokens)
        if done.first_token_s is not None:
            self._first_token_seconds.labels(provider).observe(done.first_token_s)
        with self._lock:
            if (writing_s := done.writing_s) is None:
                whole = self._whole.setdefault(provider, _Speed())
                whole.add(done.completion_tokens, done.seconds)
            else:
                streamed = self._streamed.setdefault(provider, _Speed())
                streamed.add(done.completion_tokens - 1, writing_s)

    def generation_failed(self, provider: str, code: str) -> None:
        self._generation_failures.labels(provider, code).inc()

    def tokens_per_second(self, provider: str) -> float | None:
        """How fast the model writes once it has begun, of late; None before the first answer.

        As long as nothing was streamed, the time to the first token counts too.
        """
        with self._lock:
            for measured in (self._streamed.get(provider), self._whole.get(provider)):
                if measured is not None and (speed := measured.tokens_per_second) is not None:
                    return speed
        return None

    # --- reading ---------------------------------------------------------------------------------

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """All of it and its content type; ``accept`` may ask for OpenMetrics."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type
