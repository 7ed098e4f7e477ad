"""Every feature by name: one function each, with what it means. `schemas/input.v1.schema.json` types them.

To add one: a function here, its line in FEATURES, its entry in the schema, a row in `tests/cases/features/`.
Features are total: each has a value for every request, so policies need no `has()` for them.
"""

from collections.abc import Callable

from engine.core.catalog import Model
from engine.features.history import NEUTRAL
from engine.features.survey import Survey

FeatureValue = str | int | float | bool

BUCKETS = ((8_000, "small"), (32_000, "medium"), (120_000, "large"))  # up to and including


def features(survey: Survey, requested: Model | None) -> dict[str, FeatureValue]:
    """All features of a request. `requested` is the catalog's model for the name the client sent, if it has one.

    A request alone tells nothing of calls gone by; the running engine puts in what its `History` knows."""
    values = {name: feature(survey) for name, feature in FEATURES.items()}
    if requested is not None:
        values["requested_model"] = requested.name
    values["requested_tier"] = requested_tier(requested)
    values.update(NEUTRAL)
    return values


def requested_tier(requested: Model | None) -> FeatureValue:
    """The tier of the model the client asked for; empty where the catalog does not know it."""
    return requested.tier if requested is not None else ""


def context_tokens(survey: Survey) -> FeatureValue:
    """Estimated tokens of the whole request: system texts, tools and messages."""
    return survey.context_tokens


def context_bucket(survey: Survey) -> FeatureValue:
    """The size of the context: small up to 8,000 tokens, medium up to 32,000, large up to 120,000, else huge."""
    for limit, name in BUCKETS:
        if survey.context_tokens <= limit:
            return name
    return "huge"


def file_chunks(survey: Survey) -> FeatureValue:
    """Pieces of files in the window: results of reading tools, fenced blocks with a path, numbered lines."""
    return survey.file_chunks


def messages(survey: Survey) -> FeatureValue:
    """Messages sent, system messages among them included."""
    return len(survey.request.messages)


def turn(survey: Survey) -> FeatureValue:
    """How many messages hold words of the user's own."""
    return survey.turn


def tool_count(survey: Survey) -> FeatureValue:
    """Tools the client offers."""
    return len(survey.request.tools)


def tools_used(survey: Survey) -> FeatureValue:
    """Tool calls in the conversation."""
    return survey.tools_used


def tool_results(survey: Survey) -> FeatureValue:
    """Tool results in the conversation."""
    return survey.tool_results


def tool_errors(survey: Survey) -> FeatureValue:
    """Tool results that report an error; tests, builds and checks that fail are not among them."""
    return survey.tool_errors


def tool_loop_open(survey: Survey) -> FeatureValue:
    """Whether the model is in the middle of using tools: the last message answers calls, or makes them."""
    return survey.tool_loop_open


def last_tool(survey: Survey) -> FeatureValue:
    """The name of the tool called last; empty where none was."""
    return survey.last_tool


def images(survey: Survey) -> FeatureValue:
    """Images in the conversation, those inside tool results included."""
    return survey.images


def documents(survey: Survey) -> FeatureValue:
    """Documents in the conversation, such as PDFs."""
    return survey.documents


def thinking(survey: Survey) -> FeatureValue:
    """Whether the conversation holds reasoning that a model showed earlier."""
    return survey.thinking


def prompt_words(survey: Survey) -> FeatureValue:
    """Words of the user's latest text, without the blocks clients add."""
    return survey.prompt_words


def requested_model(survey: Survey) -> FeatureValue:
    """The model asked for: its catalog name where the catalog knows it, otherwise as the client wrote it."""
    return survey.request.model


def max_tokens(survey: Survey) -> FeatureValue:
    """The longest answer the client allows, in tokens; 0 where it does not say."""
    return survey.request.tuning.max_tokens or 0


def stream(survey: Survey) -> FeatureValue:
    """Whether the client wants the answer as a stream."""
    return survey.request.stream


def structured_output(survey: Survey) -> FeatureValue:
    """Whether the answer must be JSON, with or without a schema."""
    return survey.request.tuning.output_schema is not None or survey.request.tuning.json_mode


def client(survey: Survey) -> FeatureValue:
    """Which program is asking, told by several of its markers."""
    return survey.client


def agent(survey: Survey) -> FeatureValue:
    """The type of agent that is asking, as its client or the hint says; empty where neither does."""
    return survey.agent


def subagent(survey: Survey) -> FeatureValue:
    """Whether an agent started by another agent is asking."""
    return survey.subagent


def client_session(survey: Survey) -> FeatureValue:
    """The client's own key of this session, a sub-agent's its own; empty where the client sends none."""
    return survey.client_session


def parent_session(survey: Survey) -> FeatureValue:
    """The session that started this sub-agent; empty for others."""
    return survey.parent_session


def first_user_hash(survey: Survey) -> FeatureValue:
    """A hash of the user's first own words, the same for all turns of a conversation; empty if there are none."""
    return survey.first_user_hash


def phase(survey: Survey) -> FeatureValue:
    """What the call is for."""
    return survey.phase


def language(survey: Survey) -> FeatureValue:
    """The programming language of the files the conversation was about lately."""
    return survey.language


def signature(survey: Survey) -> FeatureValue:
    """The kind of work in one value: phase, language and the size of the context, as in execute/python/small."""
    return f"{survey.phase}/{survey.language}/{context_bucket(survey)}"


def focus_file(survey: Survey) -> FeatureValue:
    """The path of the file edited or read last; empty where none was."""
    return survey.focus_file


def session_test_failures(survey: Survey) -> FeatureValue:
    """Test runs that failed after the first edit; failures before it only reproduce what is to be mended."""
    return survey.session_test_failures


def session_test_passes(survey: Survey) -> FeatureValue:
    """Test runs that passed after the first edit."""
    return survey.session_test_passes


def session_tool_errors(survey: Survey) -> FeatureValue:
    """Tool results that report an error after the first edit."""
    return survey.session_tool_errors


def repeated_calls(survey: Survey) -> FeatureValue:
    """Tool calls made again, arguments and all, with no edit in between."""
    return survey.repeated_calls


def task_edits(survey: Survey) -> FeatureValue:
    """Edits made in this task, which began with the user's latest request."""
    return survey.task.edits


def task_verdict(survey: Survey) -> FeatureValue:
    """How this task stands since its last edit: by tests, else builds and types, else lints; empty where unknown."""
    return survey.task.verdict


def task_tests_passed(survey: Survey) -> FeatureValue:
    """Tests that passed in the run that tells how this task stands; 0 where nothing was run since its last edit."""
    return survey.task.tests_passed


def task_tests_failed(survey: Survey) -> FeatureValue:
    """Tests that failed in the run that tells how this task stands, at least 1 for a run that failed as a whole."""
    return survey.task.tests_failed


def task_builds_failed(survey: Survey) -> FeatureValue:
    """Builds and type checkers that fail as this task stands."""
    return survey.task.builds_failed


def task_failed_runs(survey: Survey) -> FeatureValue:
    """Runs of tests, builds and checks that failed in this task, from its first edit on."""
    return survey.task.failed_runs


def task_setbacks(survey: Survey) -> FeatureValue:
    """Setbacks in a row in this task: runs failing no less than before, calls repeated or in error, edits undone."""
    return survey.task.setbacks


def user_correction(survey: Survey) -> FeatureValue:
    """Whether the user's latest words say that the work before them is wrong."""
    former = survey.former_task
    return survey.task.corrected or (former is not None and former.corrected)


def interrupted(survey: Survey) -> FeatureValue:
    """Whether the user stopped the agent in this task, or before the latest words."""
    former = survey.former_task
    return survey.task.interrupted or (former is not None and former.interrupted)


FEATURES: dict[str, Callable[[Survey], FeatureValue]] = {
    "context_tokens": context_tokens,
    "context_bucket": context_bucket,
    "file_chunks": file_chunks,
    "messages": messages,
    "turn": turn,
    "tool_count": tool_count,
    "tools_used": tools_used,
    "tool_results": tool_results,
    "tool_errors": tool_errors,
    "tool_loop_open": tool_loop_open,
    "last_tool": last_tool,
    "images": images,
    "documents": documents,
    "thinking": thinking,
    "prompt_words": prompt_words,
    "requested_model": requested_model,
    "max_tokens": max_tokens,
    "stream": stream,
    "structured_output": structured_output,
    "client": client,
    "agent": agent,
    "subagent": subagent,
    "client_session": client_session,
    "parent_session": parent_session,
    "first_user_hash": first_user_hash,
    "phase": phase,
    "language": language,
    "signature": signature,
    "focus_file": focus_file,
    "session_test_failures": session_test_failures,
    "session_test_passes": session_test_passes,
    "session_tool_errors": session_tool_errors,
    "repeated_calls": repeated_calls,
    "task_edits": task_edits,
    "task_verdict": task_verdict,
    "task_tests_passed": task_tests_passed,
    "task_tests_failed": task_tests_failed,
    "task_builds_failed": task_builds_failed,
    "task_failed_runs": task_failed_runs,
    "task_setbacks": task_setbacks,
    "user_correction": user_correction,
    "interrupted": interrupted,
}
