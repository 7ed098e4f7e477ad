"""The file of client keys: what is in it, that it is whole whenever it is read, and what a damaged one does."""

import hmac
import json
import multiprocessing
import os
import re
import stat
import time
from pathlib import Path

import pytest

from engine.core.identity import Identity
from engine.server import keys
from engine.server.keys import LONGEST_KEY, NO_KEYS, Key, Keys, KeysError, change, new_key, parse, read_keys

ANN = Identity("ann", "core", "internal")
NOW = 1_000_000


def add(path: Path, identity: Identity = ANN, expires: int | None = None) -> tuple[str, Key]:
    text, key = new_key(identity, NOW, expires)
    change(path, lambda known: known.with_key(key))
    return text, key


def test_a_key_is_found_by_its_whole_text_and_by_nothing_less(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    text, key = add(path)
    found = read_keys(path)
    assert found.find(text) == key
    assert key.identity == ANN
    assert re.fullmatch(r"wk_[0-9a-f]{12}_[0-9a-f]{64}", text)
    other = "0" if text[-1] != "0" else "1"
    for wrong in (text[:-1], text[:-1] + other, text.upper(), f" {text}", text + "0", text.replace("_", "-")):
        assert found.find(wrong) is None


def test_what_is_kept_of_a_key_is_its_hash_and_only_its_owner_may_read_the_file(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    text, key = add(path)
    written = path.read_text()
    assert text not in written
    assert text.rsplit("_", 1)[1] not in written
    assert key.sha256 in written
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert keys.open_to_others(path) == ""
    path.chmod(0o644)
    assert "can be read by others" in keys.open_to_others(path)
    path.chmod(0o666)
    assert "can be changed by others" in keys.open_to_others(path)
    add(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_secret_has_256_bits_and_no_two_are_alike() -> None:
    texts = {new_key(ANN, NOW, None)[0] for _ in range(100)}
    assert len(texts) == 100
    assert all(len(bytes.fromhex(text.rsplit("_", 1)[1])) == 32 for text in texts)


def test_hashes_are_compared_in_constant_time_also_for_an_id_nobody_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # G100: an `==` on secrets tells by its time how much of a guess is right
    compared: list[tuple[str, str]] = []
    genuine = hmac.compare_digest

    def watched(ours: str, theirs: str) -> bool:
        compared.append((ours, theirs))
        return genuine(ours, theirs)

    monkeypatch.setattr(hmac, "compare_digest", watched)
    text, key = new_key(ANN, NOW, None)
    stranger, _ = new_key(ANN, NOW, None)
    found = Keys({key.id: key})
    assert found.find(text) == key
    assert found.find(stranger) is None
    assert found.find(f"{text[:16]}{'0' * 64}") is None
    assert [(len(ours), len(theirs)) for ours, theirs in compared] == [(64, 64)] * 3


def test_nobody_has_the_hash_that_strangers_are_compared_with(monkeypatch: pytest.MonkeyPatch) -> None:
    text, _ = new_key(ANN, NOW, None)
    monkeypatch.setattr(keys, "digest_of", lambda _: keys.NOBODY.sha256)
    assert NO_KEYS.find(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "wk_",
        "wk__",
        "wk_0123456789ab_",
        "wk_é_" + "0" * 64,
        "wk_" + "0" * 12 + "_" + "é" * 64,
        "wk_" + "٠" * 12 + "_" + "0" * 64,  # digits, but of another script
        "\x00" * LONGEST_KEY,
        "wk_" + "x" * 1_000_000,
        "\udcff" * LONGEST_KEY,
    ],
    ids=range(10),
)
def test_what_does_not_look_like_a_key_is_none_and_that_is_quick(text: str) -> None:
    began = time.perf_counter()
    for _ in range(1_000):
        assert NO_KEYS.find(text) is None
    assert time.perf_counter() - began < 1.0


def test_a_key_lives_until_it_expires_or_is_revoked() -> None:
    key = Key("0" * 12, "1" * 64, "ann", expires=100)
    assert key.lives(99.9)
    assert not key.lives(100)
    assert not Key("0" * 12, "1" * 64, "ann", revoked=5).lives(6)
    assert Key("0" * 12, "1" * 64, "ann").lives(10**12)


def test_without_a_file_there_are_no_keys(tmp_path: Path) -> None:
    assert read_keys(tmp_path / "none.json") is not None
    assert not read_keys(tmp_path / "none.json").by_id


ENTRY = {"id": "0" * 12, "sha256": "1" * 64, "name": "ann"}


@pytest.mark.parametrize(
    ("written", "told"),
    [
        (b"", "damaged"),
        (b"{", "damaged"),
        (b"[]", "no list of keys"),
        (b'{"version": 1}', "no list of keys"),
        (b'{"version": 2, "keys": []}', "version is 2"),
        (json.dumps({"version": 1, "keys": [ENTRY, ENTRY]}).encode(), "an id is there twice"),
        (json.dumps({"version": 1, "keys": [{**ENTRY, "scopes": ["read"]}]}).encode(), "newer engine"),
        (json.dumps({"version": 1, "keys": [{"id": "0" * 12}]}).encode(), "entry 1 is no key"),
        (json.dumps({"version": 1, "keys": [{**ENTRY, "expires": "soon"}]}).encode(), "wrong kind"),
        (json.dumps({"version": 1, "keys": [{**ENTRY, "expires": True}]}).encode(), "wrong kind"),
        (json.dumps({"version": 1, "keys": [{**ENTRY, "may_force": 1}]}).encode(), "wrong kind"),
        (json.dumps({"version": 1, "keys": [{**ENTRY, "sha256": "0"}]}).encode(), "no key has"),
        (json.dumps({"version": 1, "keys": [{**ENTRY, "name": "a\nb"}]}).encode(), "no key has"),
        (b"\xff\xfe", "damaged"),
    ],
    ids=range(14),
)
def test_a_damaged_file_is_refused_whole_and_says_what_is_wrong_and_what_to_do(
    written: bytes, told: str
) -> None:
    with pytest.raises(KeysError, match=told) as raised:
        parse(written, "weave-keys.json")
    assert "weave-keys.json" in str(raised.value)


def test_what_is_written_is_what_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    every = [
        Key("0" * 12, "1" * 64, "ann", "core", "internal", False, 5, 6, 7),
        Key("1" * 12, "2" * 64, "bob"),
    ]
    change(path, lambda _: Keys({key.id: key for key in every}))
    assert list(read_keys(path).by_id.values()) == every


def test_a_change_that_fails_leaves_the_file_as_it_was_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "keys.json"
    add(path)
    before = path.read_bytes()

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(KeysError, match="No space left"):
        add(path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["keys.json"]


def test_the_file_and_its_folder_are_on_disk_before_a_change_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    genuine_sync, genuine_replace = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        genuine_sync(descriptor)

    def replaced(old: str, new: Path) -> None:
        done.append("rename")
        genuine_replace(old, new)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    add(tmp_path / "keys.json")
    assert done == ["file", "rename", "folder"]


def add_some(path: Path, name: str) -> None:
    for _ in range(10):
        add(path, Identity(name))


def test_commands_at_the_same_time_lose_none_of_each_others_keys(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    context = multiprocessing.get_context("fork")
    commands = [context.Process(target=add_some, args=(path, f"c{number}")) for number in range(4)]
    for command in commands:
        command.start()
    for command in commands:
        command.join(30)
        assert command.exitcode == 0
    found = read_keys(path)
    assert len(found.by_id) == 40
    assert all(len(found.of_name(f"c{number}")) == 10 for number in range(4))


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeysError, match="no such folder"):
        add(tmp_path / "none" / "keys.json")
