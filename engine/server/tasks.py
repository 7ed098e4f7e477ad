"""What became of a task, as its conversation tells it: the verifier that is in the traffic already.

Coding agents run tests and send what those print back through the engine, and users say whether they are content. When
a task ends, what stands is told to the learners like any other outcome; what somebody says elsewhere outranks it. A
task that leaves no trace of how it went teaches nothing.

None of this is on a request's way: it happens after the decision, beside the call.
"""

import asyncio
import hashlib
import time
from dataclasses import replace

from engine.core.decision import Outcome
from engine.core.errors import WeaveError
from engine.core.evidence import TaskEvidence
from engine.routing.tasks import Finished
from engine.server.engine import Engine
from engine.server.journal import JournalError
from engine.server.outcomes import tell
from engine.server.precedence import alone

SWEEP_SECONDS = 15.0

_VERDICTS = {"accepted": True, "rejected": False}


def outcome_of(finished: Finished, at: float) -> Outcome | None:
    """What a task's evidence comes to; None where it says nothing. Told again in the same words it has the same id, so
    that it counts once; a task that went on and is told otherwise replaces what was told before (`precedence`)."""
    evidence = finished.evidence
    if not _telling(evidence):
        return None
    return Outcome(
        id=f"seen-{finished.session}-{finished.number}-{_told(evidence)}",
        at=at,
        tests_passed=evidence.tests_passed,
        tests_failed=evidence.tests_failed,
        tool_errors=evidence.tool_errors,
        verdict=evidence.verdict,
        grounds=evidence.grounds,
        source="evidence",
    )


async def finish(engine: Engine, finished: Finished) -> None:
    """Tell the learners how a task went. Trouble with the disk is the journal's to report."""
    outcome = outcome_of(finished, time.time())
    if outcome is None:
        return
    try:
        session = await engine.journal.decisions_of_session(finished.session)
        worked = [one for one in session if one.task == finished.number and not alone(one)]
        if worked:
            about = replace(outcome, decision=worked[-1].id)
            await tell(engine, about, worked, _VERDICTS.get(finished.evidence.verdict))
    except JournalError as error:
        engine.log("task", level="warning", session=finished.session, lost=str(error))
    except WeaveError as error:
        engine.log("task", level="warning", session=finished.session, lost=error.fault.message)


async def sweep(engine: Engine) -> None:
    """End the tasks of sessions that fell silent, until cancelled."""
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        patience = engine.policies.snapshot.policy.pinning.ttl_seconds
        for finished in engine.tasks.idle(engine.clock() - patience):
            await finish(engine, finished)


def _told(evidence: TaskEvidence) -> str:
    """What is said of the work, in a few letters; how the task ended is no part of it."""
    same = replace(evidence, number=0, ended=False, moving=False, abandoned=False, interrupted=False)
    return hashlib.blake2b(repr(same).encode(), digest_size=4).hexdigest()


def _telling(evidence: TaskEvidence) -> bool:
    return bool(evidence.verdict or evidence.tests_passed or evidence.tests_failed or evidence.tool_errors)
