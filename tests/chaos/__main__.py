"""`python -m tests.chaos`: one run, its findings, and one line of JSON at the end."""

import argparse
import random
import shutil
import sys
import tempfile
from pathlib import Path

from tests.chaos.plan import Course
from tests.chaos.run import run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--sessions", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=150.0)
    parser.add_argument(
        "--rate", type=float, default=80.0, help="requests a second, of all sessions together"
    )
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--keep", type=Path, help="leave what the run wrote in this folder")
    flags = parser.parse_args()
    course = Course(flags.seed, flags.sessions, flags.seconds, flags.rate)
    print(
        f"seed {course.seed}: {course.sessions} sessions for {course.seconds:g} seconds",
        file=sys.stderr,
        flush=True,
    )
    folder = Path(tempfile.mkdtemp(prefix="weave-chaos-"))
    try:
        findings = run(course, folder)
    finally:
        if flags.keep:
            shutil.copytree(folder, flags.keep, dirs_exist_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
    for wrong in findings.told():
        print(wrong, file=sys.stderr)
    print(findings.line(), flush=True)
    return 0 if findings.all_well else 1


if __name__ == "__main__":
    sys.exit(main())
