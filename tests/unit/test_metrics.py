from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from backend.telemetry.metrics import Generated, Metrics


def samples(metrics: Metrics) -> dict[str, float]:
    """Every sample by ``name{label=value}``, labels in order of their names."""
    content, _ = metrics.render()
    found = {}
    for family in text_string_to_metric_families(content.decode()):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


def test_requests_are_counted_by_route_and_failures_by_code() -> None:
    metrics = Metrics()

    metrics.request(route="/ask", method="POST", status=200, seconds=0.2, failure=None)
    metrics.request(route="/ask", method="POST", status=504, seconds=9, failure="dependency_down")

    found = samples(metrics)
    assert found["quadrate_requests_total{method=POST,route=/ask,status=200}"] == 1
    assert found["quadrate_request_failures_total{code=dependency_down,route=/ask}"] == 1
    assert found["quadrate_request_seconds_count{route=/ask}"] == 2
    assert found["quadrate_request_seconds_sum{route=/ask}"] == 9.2


def test_a_made_up_method_is_no_label_of_its_own() -> None:
    metrics = Metrics()

    metrics.request(route="unmatched", method="X1", status=405, seconds=0, failure=None)

    assert samples(metrics)["quadrate_requests_total{method=other,route=unmatched,status=405}"]


def test_stages_caches_and_citations_are_observed() -> None:
    metrics = Metrics()

    metrics.observe_timings({"embed": 0.5, "search": 0.25})
    metrics.cache("answers", hit=True)
    metrics.cache("answers", hit=False)
    metrics.observe_citations(["exact", "exact", "unsupported"])

    found = samples(metrics)
    assert found["quadrate_stage_seconds_sum{stage=embed}"] == 0.5
    assert found["quadrate_cache_hits_total{cache=answers}"] == 1
    assert found["quadrate_cache_misses_total{cache=answers}"] == 1
    assert found["quadrate_citations_total{status=exact}"] == 2


def test_the_queue_is_read_when_the_metrics_are() -> None:
    metrics, waiting = Metrics(), [1]
    metrics.watch_queue("interactive", waiting=lambda: len(waiting), running=lambda: 4)

    waiting.append(2)
    metrics.queue_wait("interactive", 1.5)

    found = samples(metrics)
    assert found["quadrate_queue_waiting_requests{priority=interactive}"] == 2
    assert found["quadrate_queue_running_requests{priority=interactive}"] == 4
    assert found["quadrate_queue_wait_seconds_sum{priority=interactive}"] == 1.5


def test_a_generation_adds_its_tokens_and_times() -> None:
    metrics = Metrics()

    metrics.generated("vllm", Generated(100, 21, 3.0, first_token_s=1.0, deltas=20))
    metrics.generation_failed("vllm", "cancelled")

    found = samples(metrics)
    assert found["quadrate_prompt_tokens_total{provider=vllm}"] == 100
    assert found["quadrate_completion_tokens_total{provider=vllm}"] == 21
    assert found["quadrate_generation_seconds_sum{provider=vllm}"] == 3.0
    assert found["quadrate_time_to_first_token_seconds_sum{provider=vllm}"] == 1.0
    assert found["quadrate_generation_failures_total{code=cancelled,provider=vllm}"] == 1


def test_speed_is_unknown_before_the_first_answer() -> None:
    assert Metrics().tokens_per_second("vllm") is None


def test_speed_is_that_of_writing_after_the_first_token() -> None:
    metrics = Metrics()

    metrics.generated("vllm", Generated(100, 21, 3.0, first_token_s=1.0, deltas=20))

    assert metrics.tokens_per_second("vllm") == 10
    assert metrics.tokens_per_second("ollama") is None


def test_speed_follows_what_happened_lately() -> None:
    metrics = Metrics()

    metrics.generated("vllm", Generated(0, 101, 1.0, first_token_s=0.0, deltas=9))
    for _ in range(30):
        metrics.generated("vllm", Generated(0, 11, 1.0, first_token_s=0.0, deltas=9))

    speed = metrics.tokens_per_second("vllm")
    assert speed is not None
    assert 10 <= speed < 10.2


def test_an_answer_in_one_piece_tells_the_speed_only_while_nothing_better_is_known() -> None:
    metrics = Metrics()

    metrics.generated("vllm", Generated(100, 20, 4.0, first_token_s=3.999, deltas=1))
    whole = metrics.tokens_per_second("vllm")
    metrics.generated("vllm", Generated(100, 21, 3.0, first_token_s=1.0, deltas=20))

    assert whole == 5
    assert metrics.tokens_per_second("vllm") == 10


def test_two_applications_in_one_process_do_not_count_for_each_other() -> None:
    one, other = Metrics(), Metrics()

    one.cache("answers", hit=True)

    assert "quadrate_cache_hits_total{cache=answers}" not in samples(other)


def test_openmetrics_is_there_for_who_asks() -> None:
    content, content_type = Metrics().render("application/openmetrics-text; version=1.0.0")

    assert content_type.startswith("application/openmetrics-text")
    assert content.endswith(b"# EOF\n")
