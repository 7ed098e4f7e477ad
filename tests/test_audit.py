from tests.audit import verdict

CLEAN = {"name": "a", "version": "1", "vulns": []}
SKIPPED = {"name": "b", "version": "2", "skip_reason": "not found"}
VULNERABLE = {"name": "c", "version": "3", "vulns": [{"id": "CVE-1"}]}


def test_each_package_has_to_be_looked_up() -> None:
    assert verdict("lock", [CLEAN])[0] == 0
    assert verdict("lock", [CLEAN, SKIPPED]) == (
        3,
        "lock: NOT AUDITED: the service knew nothing of 1 of 2 packages, b among them",
    )
    assert verdict("lock", None)[0] == 3


def test_what_is_vulnerable_is_named() -> None:
    assert verdict("lock", [SKIPPED, VULNERABLE]) == (1, "lock: VULNERABLE: c 3: CVE-1")
