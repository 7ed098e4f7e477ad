import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_the_demo_runs_by_itself_and_every_act_goes_as_it_should() -> None:
    command = [sys.executable, "-m", "engine.cli", "demo", "--json"]
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=False)
    assert ran.returncode == 0, ran.stderr
    figures = json.loads(ran.stdout)
    assert figures["ok"]
    assert figures["requests"] > 100
    assert figures["rescued"] > 0
    assert figures["lessons"] > 0
    assert figures["cost_usd"] < figures["asked_cost_usd"]
    assert figures["seconds"] < 60


def test_the_demo_tells_people_what_happened() -> None:
    command = [sys.executable, "-m", "engine.cli", "demo"]
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=False)
    assert ran.returncode == 0, ran.stderr
    for act in ("Act 1", "Act 2", "Act 3", "Act 4", "Who served", "Done in"):
        assert act in ran.stdout
    assert "did you mean 'language'?" in ran.stdout, "what /ready says of the broken edit"
    assert ran.stderr == ""
