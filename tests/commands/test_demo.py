import json
import os
import subprocess
import sys


def test_the_demo_runs_by_itself_and_every_act_goes_as_it_should() -> None:
    command = [sys.executable, "-m", "engine.cli", "demo", "--json"]
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "PYTHONPATH": os.getcwd()}
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=False)
    assert ran.returncode == 0, ran.stderr
    figures = json.loads(ran.stdout)
    assert figures["ok"]
    assert figures["requests"] > 100
    assert figures["rescued"] > 0
    assert figures["lessons"] > 0
    assert figures["cost_usd"] < figures["asked_cost_usd"]
