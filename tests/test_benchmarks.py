import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NAMES = ("anthropic_messages", "openai_chat", "openai_responses", "gemini")


def test_the_translation_benchmark_tells_both_rates_of_every_direction() -> None:
    command = [sys.executable, "tests/benchmarks/translate.py", "--quick", "--json"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120).stdout
    line = json.loads(told.splitlines()[-1])
    directions = {f"{client}>{provider}" for client in NAMES for provider in NAMES}
    assert line["events_per_second"].keys() == line["mb_per_second"].keys() == directions
    assert line["min_events_per_second"] == min(line["events_per_second"].values()) > 0
    assert line["min_mb_per_second"] == min(line["mb_per_second"].values()) > 0
    assert all(0 < share < 1 for share in line["json_share"].values())


def test_the_restart_benchmark_tells_how_long_it_takes_with_much_and_with_nothing() -> None:
    command = [sys.executable, "tests/benchmarks/restart.py", "--rows", "3000", "--pins", "300"]
    command += ["--times", "1", "--json"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120).stdout
    line = json.loads(told.splitlines()[-1])
    assert 0 < line["alive_seconds"] <= line["restart_seconds"]
    assert line["ratio"] == pytest.approx(line["restart_seconds"] / line["empty_seconds"], abs=0.01)
    assert line["ratio"] < 2


def test_the_reuse_benchmark_tells_how_often_it_happens_and_what_it_changes() -> None:
    command = [sys.executable, "tests/benchmarks/reuse.py", "--sessions", "4", "--rounds", "3", "--json"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120).stdout
    line = json.loads(told.splitlines()[-1])
    assert 0.2 < line["free_hit_rate"] < 1
    assert line["pinned_hit_rate"] < line["free_hit_rate"]
    assert line["free_same_choice"] > 0.8
    assert line["free_time_ratio"] > 0


def test_the_failover_benchmark_tells_what_a_dead_endpoint_costs() -> None:
    command = [sys.executable, "tests/benchmarks/failover.py", "--seconds", "0.5", "--json"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120).stdout
    line = json.loads(told.splitlines()[-1])
    assert line["hangs"]["first_seconds"] >= line["connect_timeout_seconds"] > 0
    assert line["well"]["ratio"] == 1.0
    assert all(line[name]["requests"] >= 20 for name in ("well", "refuses", "hangs"))


def test_the_demo_mix_tells_who_serves_its_requests_cold_and_warm() -> None:
    command = [sys.executable, "tests/benchmarks/demo_mix.py", "--tasks", "4", "--warming", "4", "--json"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120).stdout
    line = json.loads(told.splitlines()[-1])
    for shares in (line["demo_shares_cold"], line["demo_shares_warm"]):
        assert sum(shares.values()) == pytest.approx(1)
        assert shares["small"] > 0
    assert line["demo_shares_cold"]["frontier"] > 0
    assert 0 < line["demo_cost_warm"] < 1.5
    assert line["demo_lessons"] > 0
