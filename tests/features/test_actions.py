import json

import pytest

from engine.features.actions import Action, fence_language, language_of, read_action, tool_kind


@pytest.mark.parametrize(
    ("command", "kind", "path"),
    [
        ("ls -la", "read", ""),
        ("cd /repo && cat src/main.py | head -20", "read", "src/main.py"),
        ("git -C x log", "shell", ""),
        ("git log --oneline && git diff", "read", ""),
        ("sed -n 1,20p a.go", "read", "a.go"),
        ("sed -i s/a/b/ a.go", "edit", "a.go"),
        ("echo hi > notes.md", "edit", "notes.md"),
        ("echo hi >> ./docs/notes.md", "edit", "./docs/notes.md"),
        ("cat <<'EOF' > app.ts\nlet x\nEOF", "edit", "app.ts"),
        ("make 2>&1 | tee build.log", "shell", ""),
        ("make > /tmp/out.txt", "shell", ""),
        ("printf x | tee -a notes.md", "edit", "notes.md"),
        ("ls missing 2>/dev/null", "read", ""),
        ("grep -rn 'a -> b' .", "read", ""),
        ("python run.py", "shell", ""),
        ("npm install", "shell", ""),
        ("git apply fix.patch", "edit", ""),
    ],
)
def test_a_shell_command_looks_writes_or_runs(command: str, kind: str, path: str) -> None:
    action = read_action("shell", json.dumps({"command": command}))
    assert (action.kind, action.path) == (kind, path)


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        ('{"file_path": "/r/a.py", "old_string": "x"}', "/r/a.py"),
        ('{"filePath":"a.py"}', "a.py"),
        ('{"content": "' + "x" * 5_000 + '", "path": "late.py"}', "late.py"),
        (r'{"path": "C:\\src\\a.cs"}', r"C:\src\a.cs"),
        ('{"path": "unfinished', ""),
        ('{"path": 7}', ""),
        ("not json at all", ""),
    ],
)
def test_the_path_of_an_edit_is_found_where_arguments_begin_or_end(arguments: str, path: str) -> None:
    assert read_action("edit", arguments) == Action("edit", path, edits=True)


def test_a_command_may_stand_in_a_script_that_calls_a_tool() -> None:
    script = 'const r = await tools.exec_command({cmd: "cd /r && pytest -q"});\ntext(r.output);\n'
    assert read_action("shell", script).kind == "test"


def test_a_shell_may_take_its_command_as_a_list() -> None:
    action = read_action("shell", '{"command": ["bash", "-lc", "ls"]}')
    assert (action.command, action.kind) == ("ls", "read")
    assert read_action("shell", '{"command": ["ls", "-la"]}').command == "ls"


def test_tools_are_known_by_name_whatever_its_case_and_server() -> None:
    assert tool_kind("Read") == "read"
    assert tool_kind("mcp__github__get_file_contents") == "read"
    assert tool_kind("run_shell_command") == "shell"
    assert tool_kind("make_coffee") == "other"


def test_languages_are_known_by_ending_and_by_label() -> None:
    assert language_of("a/b.TSX") == "typescript"
    assert language_of("Makefile") == ""
    assert language_of("notes.md") == ""
    assert fence_language("golang") == "go"
    assert fence_language("py") == "python"
