"""The console's answers are tested where clients ask for them, in test_routes.py; here is what its table says."""

from engine.server.console import PAGE_HEADERS


def test_a_page_runs_nothing_and_is_kept_nowhere() -> None:
    assert PAGE_HEADERS["content-security-policy"].startswith("default-src 'none'")
    assert PAGE_HEADERS["cache-control"] == "no-store"
