"""SECURITY.md promises nothing that no test holds."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "SECURITY.md").read_text()


def test_every_threat_names_tests_that_are_there() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and "threat" not in line]
    assert len(rows) > 8
    for row in rows:
        named = re.findall(r"`((?:tests|security)/[\w/.]+)`", row.rsplit("| ", 1)[1])
        assert named, row
        for name in named:
            place = (
                name.replace("security/", "tests/server/security/") if name.startswith("security/") else name
            )
            assert (ROOT / place).exists(), name


def test_every_setting_it_names_is_one() -> None:
    settings = (ROOT / "engine/settings.py").read_text()
    assert all(name in settings for name in re.findall(r"WEAVE_[A-Z_]+", PAGE))
