from dataclasses import replace

import pytest

from engine.simulator.agent_tasks import Workspace, tasks


def test_the_mix_of_work_repeats_and_has_every_kind() -> None:
    assert tasks(50, seed=1) == tasks(50, seed=1) != tasks(50, seed=2)
    assert len({task.kind for task in tasks(200)}) == 7
    assert len({task.id for task in tasks(200)}) == 200


def test_every_ask_names_its_file() -> None:
    assert all(task.file in task.ask for task in tasks(100))


@pytest.mark.parametrize(("ending", "passes", "fails"), [("py", " passed in", " failed,"), ("ts", "passed,", "FAIL"),
                                                          ("go", "ok  \t", "--- FAIL")])  # fmt: skip
def test_tests_pass_once_an_able_model_has_made_the_newest_edit(ending: str, passes: str, fails: str) -> None:
    mix = (replace(task, kind="debug", file=f"src/a.{ending}") for task in tasks(50))
    task = next(task for task in mix if not task.solved_by("haiku", 0))
    workspace = Workspace(task, seed=0)
    workspace.run("Edit", {"file_path": task.file}, "haiku")
    text, failed = workspace.run("Bash", {"command": "test"}, "haiku")
    assert fails in text
    assert (failed, workspace.solved, workspace.failed > 0) == (False, False, True)
    workspace.run("edit", {"file_path": task.file}, "opus")
    text, _ = workspace.run("bash", {"command": "test"}, "haiku")
    assert passes in text
    assert fails not in text
    assert (workspace.solved, workspace.failed) == (True, 0)


def test_reading_and_searching_return_the_same_every_time() -> None:
    workspace = Workspace(tasks(1)[0], seed=0)
    for tool, arguments in (("Read", {"file_path": "a.py"}), ("Grep", {"pattern": "price"})):
        assert workspace.run(tool, arguments, "opus") == workspace.run(tool, arguments, "opus")
        assert len(workspace.run(tool, arguments, "opus")[0]) > 100


def test_a_tool_that_is_not_there_is_an_error() -> None:
    assert Workspace(tasks(1)[0], seed=0).run("fly", {}, "opus") == ("Error: there is no tool fly", True)
