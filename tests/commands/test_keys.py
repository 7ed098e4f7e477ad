"""`weave-engine keys` as a shell calls it."""

import json
import os
import re
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from engine.commands import keys
from engine.commands.serve import _is_loopback
from engine.server.keys import Key, Keys, change, read_keys

Weave = Any
FILE = "weave-keys.json"


def kept() -> list[Key]:
    return list(read_keys(Path(FILE)).by_id.values())


def test_a_new_key_is_all_that_is_on_standard_output_and_is_kept_as_a_hash(weave: Weave) -> None:
    ran = weave("keys", "add", "ann", "--team", "core", "--data-class", "internal")
    key = ran.out.removesuffix("\n")
    assert (ran.code, bool(re.fullmatch(r"wk_[0-9a-f]{12}_[0-9a-f]{64}", key))) == (0, True)
    assert "the key of ann (team core, data class internal); it is shown once" in ran.err
    assert key not in ran.err
    assert key not in Path(FILE).read_text()
    assert stat.S_IMODE(os.stat(FILE).st_mode) == 0o600
    found = read_keys(Path(FILE)).find(key)
    assert found is not None
    assert (found.name, found.team, found.data_class, found.may_force, found.expires) == (
        "ann",
        "core",
        "internal",
        True,
        None,
    )


def test_a_key_may_expire_and_may_be_forbidden_to_force_a_model(weave: Weave) -> None:
    ran = weave("keys", "add", "ci", "--expires", "90d", "--no-force", "--json")
    told = json.loads(ran.out)
    assert told["key"].startswith(f"wk_{told['id']}_")
    assert told["may_force"] is False
    assert told["expires"] - told["created"] == 90 * 86_400
    assert "sha256" not in told
    assert kept()[0].may_force is False


def test_the_list_shows_everything_but_the_secret(weave: Weave) -> None:
    secrets = [weave("keys", "add", name, "--team", "core").out.strip() for name in ("bob", "ann")]
    weave("keys", "add", "ci", "--expires", "90d", "--no-force")
    weave("keys", "revoke", "bob")
    ran = weave("keys", "list")
    assert ran.code == 0
    for secret in secrets:
        assert secret[:15] in ran.out
        assert secret[16:] not in ran.out
        assert secret[-8:] not in ran.out
    lines = ran.out.splitlines()
    assert [line.split()[1] for line in lines if line.startswith("wk_")] == ["ann", "bob", "ci"]
    assert re.search(r"bob +core .* revoked 20\d\d-", ran.out)
    assert re.search(r"ann +core .* lives +yes", ran.out)
    assert re.search(r"ci .* until 20\d\d-\d\d-\d\d +no", ran.out)
    told = json.loads(weave("keys", "list", "--json").out)
    assert [key["name"] for key in told] == ["ann", "bob", "ci"]
    assert not any("sha256" in key for key in told)


def test_without_keys_the_list_says_what_that_means(weave: Weave) -> None:
    ran = weave("keys", "list")
    assert (ran.code, ran.out) == (0, "")
    assert "the engine is open, on this machine alone" in ran.err


def test_a_rotated_name_has_a_new_key_and_its_old_one_for_the_grace(weave: Weave) -> None:
    old = weave("keys", "add", "ann", "--team", "core", "--no-force").out.strip()
    ran = weave("keys", "rotate", "ann", "--grace", "2h")
    new = ran.out.strip()
    found = read_keys(Path(FILE))
    first, second = found.find(old), found.find(new)
    assert first is not None
    assert second is not None
    assert first.identity == second.identity
    assert first.expires is not None
    assert 7_190 < first.expires - time.time() <= 7_200
    assert second.expires is None
    assert "works until" in ran.err
    assert old[:15] in ran.err
    gone = weave("keys", "rotate", "ann", "--grace", "0")
    assert "is dead" in gone.err
    later = read_keys(Path(FILE))
    assert [later.by_id[key.id].lives(time.time()) for key in (first, second)] == [False, False]
    assert len([key for key in kept() if key.lives(time.time())]) == 1


def test_a_rotated_key_that_was_to_expire_is_followed_by_one_as_long_lived(weave: Weave) -> None:
    weave("keys", "add", "ann", "--expires", "10d")
    new = json.loads(weave("keys", "rotate", "ann", "--json").out)
    assert new["expires"] - new["created"] == 10 * 86_400


def test_a_key_that_dies_sooner_than_the_grace_does_not_live_longer_for_it(weave: Weave) -> None:
    weave("keys", "add", "ann", "--expires", "1h")
    before = kept()[0].expires
    weave("keys", "rotate", "ann", "--grace", "24h")
    assert kept()[0].expires == before


def test_one_of_several_keys_is_rotated_or_revoked_by_its_id(weave: Weave) -> None:
    first, second = (weave("keys", "add", "ann").out.strip() for _ in range(2))
    assert weave("keys", "revoke", first[:15]).code == 0
    assert [key.revoked is None for key in kept()] == [False, True]
    assert weave("keys", "rotate", second[3:15], "--grace", "0").code == 0
    pasted = weave("keys", "revoke", second)
    assert pasted.code == 0
    assert second not in pasted.err


def test_revoking_a_name_ends_all_its_keys_and_the_last_one_does_not_open_the_engine(weave: Weave) -> None:
    for _ in range(2):
        weave("keys", "add", "ann")
    ran = weave("keys", "revoke", "ann")
    assert ran.code == 0
    assert "refuses it within a second" in ran.err
    assert "answers nobody" in ran.err
    assert all(key.revoked is not None for key in kept())
    assert "nothing changed" in weave("keys", "revoke", "ann").err


def test_a_second_key_of_a_name_has_its_labels_and_others_are_refused(weave: Weave) -> None:
    weave("keys", "add", "ann", "--team", "core")
    assert weave("keys", "add", "ann").code == 0
    assert [key.team for key in kept()] == ["core", "core"]
    ran = weave("keys", "add", "ann", "--team", "sales")
    assert ran.code == 2
    assert "ann has a key already, with the team core" in ran.err
    weave("keys", "revoke", "ann")
    assert weave("keys", "add", "ann", "--team", "sales").code == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("add",), "keys add: say whose key"),
        (("rotate",), "keys rotate: say whose key"),
        (("revoke", "nobody"), "no key or name nobody in weave-keys.json; it has none"),
        (("rotate", "nobody"), "no key or name nobody"),
        (("add", "two words"), "'two words' cannot be a name"),
        (("add", "0123456789ab"), "cannot be a name"),
        (("add", "wk_ann"), "cannot be a name"),
        (("add", "ann", "--team", "a/b"), "'a/b' cannot be a team"),
        (("add", "ann", "--data-class", "é"), "cannot be a data class"),
        (("add", "x" * 65), "cannot be a name"),
        (("rotate", "ann", "--grace", "soon"), "'soon' is no time"),
        (("burn",), "invalid choice"),
    ],
)
def test_what_makes_no_sense_is_told_and_changes_nothing(
    arguments: tuple[str, ...], told: str, weave: Weave
) -> None:
    ran = weave("keys", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert told in ran.err
    assert not Path(FILE).exists() or not kept()


def test_a_name_without_a_living_key_cannot_be_rotated(weave: Weave) -> None:
    weave("keys", "add", "ann")
    weave("keys", "revoke", "ann")
    ran = weave("keys", "rotate", "ann")
    assert (ran.code, ran.out) == (2, "")
    assert "no living key" in ran.err


def test_a_damaged_file_is_named_and_left_alone(weave: Weave) -> None:
    Path(FILE).write_text("{")
    for arguments in (("add", "ann"), ("list",), ("revoke", "ann"), ("rotate", "ann")):
        ran = weave("keys", *arguments)
        assert (ran.code, ran.out) == (1, "")
        assert "weave-keys.json: this file of keys is damaged" in ran.err
    assert Path(FILE).read_text() == "{"


def test_the_file_is_beside_the_journal_or_where_the_settings_say(
    weave: Weave, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "state").mkdir()
    monkeypatch.setenv("WEAVE_JOURNAL", str(tmp_path / "state" / "weave.db"))
    weave("keys", "add", "ann")
    assert (tmp_path / "state" / FILE).exists()
    monkeypatch.setenv("WEAVE_KEYS", str(tmp_path / "env.json"))
    weave("keys", "add", "ann")
    assert (tmp_path / "env.json").exists()
    weave("keys", "add", "ann", "--keys", tmp_path / "flag.json")
    assert (tmp_path / "flag.json").exists()


def test_a_key_near_its_end_is_shown_with_the_minute() -> None:
    assert keys._state(Key("0" * 12, "", "a", expires=7_260), 0.0) == "until 1970-01-01 02:01 UTC"
    assert keys._state(Key("0" * 12, "", "a", expires=864_000), 0.0) == "until 1970-01-11"
    assert keys._state(Key("0" * 12, "", "a", expires=60), 60.0) == "expired 1970-01-01"


# What the keys mean for `serve` -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "alone"),
    [
        ("127.0.0.1", True),
        ("127.8.0.1", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("fe80::1%eth0", False),
    ],
)
def test_only_loopback_addresses_are_this_machine_alone(address: str, alone: bool) -> None:
    assert _is_loopback(address) is alone


def test_an_engine_that_others_could_reach_does_not_start_without_keys(weave: Weave, policies: Path) -> None:
    ran = weave("serve", "--host", "0.0.0.0", "--port", "0", "--policies", policies)
    assert (ran.code, ran.out) == (2, "")
    assert "others could reach 0.0.0.0" in ran.err
    assert "weave-engine keys add NAME" in ran.err


def test_an_engine_does_not_start_on_a_damaged_file_of_keys(weave: Weave, policies: Path) -> None:
    Path(FILE).write_text("{")
    ran = weave("serve", "--port", "0", "--policies", policies)
    assert ran.code == 1
    assert "damaged" in ran.err


def test_with_a_key_an_engine_may_be_reached_by_others_and_asks_everybody_for_it(policies: Path) -> None:
    change(Path(FILE), lambda _: Keys({"0" * 12: Key("0" * 12, "1" * 64, "ann")}))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "engine.cli", "serve", "--host", "0.0.0.0", "--port", str(port)]
    process = subprocess.Popen([*command, "--policies", str(policies)], stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if '"serving"' in line:
                break
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            client.sendall(b"GET /v1/models HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")
            assert client.recv(12) == b"HTTP/1.1 401"
    finally:
        process.terminate()
        process.communicate(timeout=20)
