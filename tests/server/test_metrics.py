import time
from dataclasses import replace

from engine.core.catalog import Binding, Model, Price
from engine.core.decision import AttemptRecord, Decision, Result
from engine.core.errors import Fault
from engine.core.reply import Usage
from engine.server.metrics import MOST_SERIES, OTHER, Counter, Histogram, Metrics, sample

SERVED = (Binding("there", "x"),)
OPUS = Model("opus", "frontier", 200_000, 64_000, frozenset(), Price(5.0, 25.0, 0.5, 6.25), SERVED)
DECISION = Decision(
    "d1", 0.0, "plain", "f", ("haiku",), "r", "rule", "why", "whatever a client sends", "gemini"
)
RESULT = Result(
    "d1",
    0.0,
    200,
    "haiku",
    "there",
    1,
    "end_turn",
    Usage(1_000_000, 1_000_000),
    6.0,
    3.0,
    first_content_seconds=0.3,
)


def test_a_sum_grows_by_its_labels() -> None:
    counter = Counter("n", ("a", "b"), "")
    counter.add(("x", "y"))
    counter.add(("x", "y"), 2)
    counter.add(("x", "z"))
    assert list(counter.lines()) == ['n{a="x",b="y"} 3', 'n{a="x",b="z"} 1']


def test_a_family_has_so_many_series_and_no_more() -> None:
    counter, histogram = Counter("n", ("a",), ""), Histogram("h", ("a",), "", (1.0,))
    for number in range(MOST_SERIES + 50):
        counter.add((str(number),))
        histogram.see((str(number),), 0.5)
    assert list(counter.lines())[-1] == f'n{{a="{OTHER}"}} 50'
    assert f'h_count{{a="{OTHER}"}} 50.0' in list(histogram.lines())


def test_a_value_on_the_bound_of_a_bucket_is_in_it() -> None:
    histogram = Histogram("h", (), "", (1.0, 2.0))
    for value in (0.5, 1.0, 2.0, 9.0):
        histogram.see((), value)
    assert list(histogram.lines()) == [
        'h_bucket{le="1"} 2.0',
        'h_bucket{le="2"} 3.0',
        'h_bucket{le="+Inf"} 4.0',
        "h_sum 12.5",
        "h_count 4.0",
    ]


def test_a_label_cannot_end_its_line() -> None:
    assert sample("n", [("a", 'x"\\\n')], 1) == 'n{a="x\\"\\\\\\n"} 1'


def told(metrics: Metrics) -> str:
    return "\n".join(line for family in metrics.families() for line in family.lines())


def test_a_request_is_counted_with_what_it_cost_and_saved() -> None:
    metrics = Metrics()
    metrics.concluded(DECISION, OPUS, RESULT)
    lines = told(metrics)
    assert 'weave_requests_total{protocol="gemini",model="haiku",status="200",source="rule"} 1' in lines
    assert 'weave_tokens_total{model="haiku",kind="input"} 1000000' in lines
    assert 'weave_cost_usd_total{model="haiku"} 6.0' in lines
    assert 'weave_saved_usd{requested="opus",model="haiku"} 24.0' in lines
    assert 'weave_first_content_seconds_bucket{model="haiku",le="0.5"} 1.0' in lines
    assert 'weave_first_content_seconds_bucket{model="haiku",le="0.25"} 0.0' in lines


def test_what_the_requested_model_itself_served_saves_nothing() -> None:
    metrics = Metrics()
    metrics.concluded(DECISION, OPUS, replace(RESULT, model="opus"))
    metrics.concluded(DECISION, None, RESULT)
    assert "weave_saved" not in told(metrics)


def test_what_nothing_served_costs_nothing_and_is_counted() -> None:
    metrics = Metrics()
    failed = replace(RESULT, model="", status=529, client_gone=True, first_content_seconds=None)
    metrics.concluded(DECISION, OPUS, failed)
    metrics.refused("openai-chat", 400)
    lines = told(metrics)
    assert 'weave_requests_total{protocol="gemini",model="",status="529",source="rule"} 1' in lines
    assert 'weave_requests_total{protocol="openai-chat",model="",status="400",source=""} 1' in lines
    assert 'weave_clients_gone_total{protocol="gemini"} 1' in lines
    assert "weave_tokens" not in lines
    assert "weave_cost" not in lines


def test_an_attempt_is_counted_by_its_fault() -> None:
    metrics = Metrics()
    record = AttemptRecord("d1", 1, "opus", "there", "x", 0.0, 0.1)
    metrics.attempted(record)
    metrics.attempted(replace(record, fault=Fault("overloaded", "busy")))
    lines = told(metrics)
    assert 'weave_attempts_total{endpoint="there",model="opus",fault=""} 1' in lines
    assert 'weave_attempts_total{endpoint="there",model="opus",fault="overloaded"} 1' in lines


def test_what_a_client_sends_is_no_label() -> None:
    metrics = Metrics()
    metrics.concluded(DECISION, OPUS, RESULT)
    assert "whatever a client sends" not in told(metrics)


def test_counting_a_request_takes_microseconds() -> None:
    metrics = Metrics()
    record = AttemptRecord("d1", 1, "opus", "there", "x", 0.0, 0.1)
    best = float("inf")
    for _ in range(20):
        began = time.perf_counter()
        for _ in range(200):
            metrics.decided(0.001)
            metrics.attempted(record)
            metrics.concluded(DECISION, OPUS, RESULT)
        best = min(best, (time.perf_counter() - began) / 200)
    assert best < 20e-6  # 3 µs where nothing else runs
