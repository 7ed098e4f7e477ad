"""Kill the engine again and again while it works, and see whether anything that was promised is gone.

    python -m tests.crash [--kills 50] [--seed N] [--folder DIR]

Prints its seed, which repeats the course of it, and ends with one line of JSON; exits with 1 where anything is wrong.
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
from pathlib import Path

from tests.crash.run import crash


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="weave-crash-") as folder:
        found = asyncio.run(crash(Path(folder), options.kills, options.seed))
    for example in found.pop("examples"):
        print(example)
    print(json.dumps(found))
    return 1 if found["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
