"""The house keeps its order: who may import whom, one door per library, a test beside each file of code.

    core <- documents <- protocols, features, routing, policy, learning <- choice <- purse <- snapshot <- turn
         <- rollout <- server <- app <- cli

The five rooms in the middle never import one another; they meet through the words in core.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ENGINE = ROOT / "engine"

ROOMS = {"protocols", "features", "routing", "policy", "learning"}
BELOW_ROOMS = {"core", "documents", "wire"}

# room or file at the top of engine/ -> what of engine it may import
MAY_IMPORT: dict[str, set[str]] = {
    "core": {"core"},
    "wire": set(),
    "settings": set(),
    "documents": {"core", "documents", "wire"},
    **{room: {*BELOW_ROOMS, room} for room in ROOMS},
    "simulator": {*BELOW_ROOMS, "simulator"},
    "choice": {*BELOW_ROOMS, *ROOMS},
    "purse": {*BELOW_ROOMS, *ROOMS, "choice"},
    "session": {*BELOW_ROOMS, *ROOMS, "choice"},
    "snapshot": {*BELOW_ROOMS, *ROOMS, "choice", "purse"},
    "turn": {*BELOW_ROOMS, *ROOMS, "choice", "purse", "session", "snapshot"},
    "rollout": {*BELOW_ROOMS, *ROOMS, "choice", "snapshot", "turn"},
    "server": {*BELOW_ROOMS, *ROOMS, "snapshot", "turn", "rollout", "server", "settings"},
    "app": {*BELOW_ROOMS, *ROOMS, "snapshot", "turn", "rollout", "server", "settings"},
}
AT_THE_TOP = {"commands", "cli", "usage", "__init__"}  # the command line may use everything

# library -> the only files that may import it
DOORS: dict[str, set[str]] = {
    "aiohttp": {"server/upstream.py"},
    "celpy": {"policy/expression/parse.py"},
    "httpx": {"server/upstream.py"},
    "httpx_aiohttp": {"server/upstream.py"},
    "jsonschema": {"documents/shape.py"},
    "lark": {"policy/expression/parse.py"},
    "matplotlib": {"commands/plot.py"},
    "orjson": {"wire.py"},
    "re2": {"policy/expression/patterns.py"},
    "rich": {"commands/terminal.py"},
    "river": {"learning/models.py"},
    "sqlite3": {"server/database.py"},
    "structlog": {"server/log.py"},
    "yaml": {"documents/reading.py"},
}

# what only the rooms that perform may touch
PERFORMERS = {"server", "simulator", "app", "commands", "cli"}
EFFECTS = {
    "asyncio",
    "starlette",
    "uvicorn",
    "socket",
    "threading",
    "subprocess",
    "logging",
    "random",
    "time",
}
# dataclasses of the running server are the one place where time is asked for outside a performer: none.


def files() -> list[Path]:
    return sorted(path for path in ENGINE.rglob("*.py"))


def name_of(path: Path) -> str:
    return str(path.relative_to(ENGINE))


def room_of(path: Path) -> str:
    first = path.relative_to(ENGINE).parts[0]
    return first.removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    """The full names of modules a file imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)} imports relatively; name the module in full"
            assert node.module is not None
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", files(), ids=name_of)
def test_a_file_imports_only_what_lies_below_it(path: Path) -> None:
    room = room_of(path)
    if room in AT_THE_TOP:
        return
    for module in imports(path):
        parts = module.split(".")
        if parts[0] == "engine" and len(parts) > 1:
            assert parts[1] in MAY_IMPORT[room], f"{name_of(path)} must not import {module}"


@pytest.mark.parametrize("path", files(), ids=name_of)
def test_a_library_has_one_door(path: Path) -> None:
    for module in imports(path):
        doors = DOORS.get(module.split(".")[0])
        assert doors is None or name_of(path) in doors, (
            f"{name_of(path)} imports {module}; its door is {doors}"
        )


@pytest.mark.parametrize("path", files(), ids=name_of)
def test_pure_rooms_perform_nothing(path: Path) -> None:
    if room_of(path) in PERFORMERS | {"documents"}:
        return
    for module in imports(path):
        assert module.split(".")[0] not in EFFECTS, f"{name_of(path)} is pure and must not import {module}"


@pytest.mark.parametrize("path", files(), ids=name_of)
def test_core_uses_the_standard_library_only(path: Path) -> None:
    if room_of(path) == "core":
        for module in imports(path):
            top = module.split(".")[0]
            assert top in ("engine", "collections", "dataclasses", "typing", "fnmatch"), (
                f"core imports {module}"
            )


def test_every_room_is_known() -> None:
    rooms = {room_of(path) for path in files()}
    assert rooms <= MAY_IMPORT.keys() | AT_THE_TOP


def test_every_door_is_used() -> None:
    used = {(module.split(".")[0], name_of(path)) for path in files() for module in imports(path)}
    for library, doors in DOORS.items():
        for door in doors:
            assert (library, door) in used, f"{door} no longer needs {library}: take the door out of the list"


@pytest.mark.parametrize("path", files(), ids=name_of)
def test_code_has_its_test_beside_it(path: Path) -> None:
    """`engine/a/b.py` is tested by `tests/a/test_b.py` or a folder `tests/a/b/`; a package's parts may share a test
    named for the package."""
    relative = path.relative_to(ENGINE).with_suffix("")
    if relative.name in ("__init__", "__main__") or not holds_behaviour(path):
        return
    tests = ROOT / "tests"
    places = [tests / relative.parent / f"test_{relative.name}.py", tests / relative]
    places += [tests / parent.parent / f"test_{parent.name}.py" for parent in relative.parents if parent.name]
    assert any(place.exists() for place in places), f"{name_of(path)} has no test; expected one of {places}"


def holds_behaviour(path: Path) -> bool:
    """Whether a file does anything that could be wrong: words alone (shapes of data, protocols) are tested by use."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = [line for line in node.body if not isinstance(line, ast.Expr | ast.Pass)]
            is_field = len(body) == 1 and isinstance(body[0], ast.Return) and len(ast.unparse(body[0])) < 40
            if body and not is_field:
                return True
    return False


def test_no_file_is_too_long_to_hold_one_idea() -> None:
    long = {name_of(path): count for path in files() if (count := len(path.read_text().splitlines())) > 600}
    assert not long
