"""Whether a known vulnerability is in what the engine depends on: `make audit` runs it.

    python -m tests.audit PIP_AUDIT LOCK...

Ends with 0 where each package was looked up and none is known to be vulnerable, with 1 where one is, and with 3 where
the service that knows could not be asked about all of them. pip-audit itself counts what it cannot look up as clean.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

SECONDS = 300


def audited(pip_audit: str, lock: str) -> Sequence[dict[str, Any]] | None:
    """What is known of each package; None where nobody could be asked."""
    asked = subprocess.run(
        [
            pip_audit,
            "--disable-pip",
            "--require-hashes",
            "-r",
            lock,
            "-f",
            "json",
            "--progress-spinner",
            "off",
        ],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    try:
        found: Sequence[dict[str, Any]] = json.loads(asked.stdout)["dependencies"]
    except (ValueError, KeyError):
        print(asked.stderr[-500:], file=sys.stderr)
        return None
    return found


def verdict(lock: str, found: Sequence[dict[str, Any]] | None) -> tuple[int, str]:
    """The exit status, and it in words."""
    if found is None:
        return 3, f"{lock}: NOT AUDITED: the service that knows of vulnerabilities could not be asked"
    known = [
        f"{one['name']} {one['version']}: {each['id']}" for one in found for each in one.get("vulns", ())
    ]
    if known:
        return 1, f"{lock}: VULNERABLE: {'; '.join(known)}"
    unknown = [one["name"] for one in found if "skip_reason" in one]
    if unknown:
        told = f"{len(unknown)} of {len(found)} packages, {', '.join(unknown[:3])} among them"
        return 3, f"{lock}: NOT AUDITED: the service knew nothing of {told}"
    return 0, f"{lock}: none of {len(found)} packages is known to be vulnerable"


def main(pip_audit: str, *locks: str) -> int:
    worst = 0
    for lock in locks:
        status, words = verdict(lock, audited(pip_audit, lock))
        print(words)
        worst = status if worst == 0 or status == 1 else worst
    return worst


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
