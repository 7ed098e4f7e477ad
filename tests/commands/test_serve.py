import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_serve_without_a_key_says_that_nothing_is_real_and_ends_when_told(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "engine.cli", "serve", "--port", "0", "--log", "json"]
    command += ["--policies", str(ROOT / "policies"), "--journal", str(tmp_path / "weave.db")]
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stderr is not None
        events = {}
        deadline = time.monotonic() + 60
        while "serving" not in events and time.monotonic() < deadline:
            event = json.loads(process.stderr.readline())
            events[event["event"]] = event
        assert "no provider key is set" in events["SIMULATED"]["why"]
        with urllib.request.urlopen(f"{events['serving']['url']}/health", timeout=10) as reply:
            assert reply.status == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.communicate()
