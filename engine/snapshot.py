"""Texts of policy files -> a Snapshot that can serve, or every problem in them.

The same function serves the reload of a running engine, the start, and `validate`. All files are one set: names
are known across files. A snapshot is built and tested whole, never changes, and is told apart by a fingerprint
of what it was built from.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from engine.choice import Bench, Choice, choose
from engine.core.catalog import TIERS, Catalog, Model
from engine.core.errors import BudgetError, InvalidDocumentsError, Problem
from engine.core.policy import Inputs, Policy
from engine.core.ports import Spend, Trust
from engine.documents import Document, check_shape, did_you_mean, nearest, read
from engine.policy.cases import Decide, Decided, check_cases, run_cases
from engine.policy.catalog import Page, check_catalogs, names_in, read_catalogs
from engine.policy.check import Known, check_documents, check_policy, serving
from engine.policy.compile import compile_policy
from engine.policy.declared import check_declared
from engine.policy.evaluate import CompiledPolicy
from engine.policy.limits import check_limits
from engine.policy.phrases import Phrases, read_phrases
from engine.policy.reach import check_reach
from engine.purse import paid, purse_of, thrifty
from engine.routing.eligible import NEEDS, Pool, eligible
from engine.routing.pins import session_of
from engine.routing.targets import chain, forced

SCHEMAS: Mapping[str, str] = {
    "Catalog": "schemas/catalog.v1.schema.json",
    "Policy": "schemas/policy.v1.schema.json",
}


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """A whole set of policies, ready to serve. `policy` is the one that does; `problems` are warnings."""

    fingerprint: str
    catalog: Catalog
    policies: Mapping[str, Policy]
    policy: Policy
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class _Set:
    """The files of a set that could be read, sorted by kind. `complete` is false where one could not."""

    catalogs: tuple[Page, ...]
    policies: tuple[Page, ...]
    complete: bool


def build(files: Mapping[str, str], serve: str = "", *, run_tests: bool = True) -> Snapshot:
    """The snapshot of these files (name -> text). `serve` names the policy that serves; it may be empty where only
    one is there or one is called default. Raises InvalidDocumentsError with every problem, warnings too."""
    snapshot, problems = check(files, serve, run_tests=run_tests)
    if snapshot is None:
        raise InvalidDocumentsError(problems)
    return snapshot


def check(
    files: Mapping[str, str], serve: str = "", *, run_tests: bool = True
) -> tuple[Snapshot | None, tuple[Problem, ...]]:
    """The snapshot, if nothing is wrong enough to prevent it, and every problem found, sorted."""
    problems: list[Problem] = []
    found = _read_set(files, problems)
    problems += _check_set(found, files)
    phrases = [read_phrases(page) for page in found.policies]
    for page, each in zip(found.policies, phrases, strict=True):
        problems += each.problems
        problems += check_limits(page, each)
        problems += check_declared(page, found.policies, found.complete)
    known = _known(found, problems)
    for page, each in zip(found.policies, phrases, strict=True):
        problems += check_policy(page, known)
        problems += check_reach(page, each, known.catalog, NEEDS)
        if found.complete:
            problems += check_cases(page, known.models, TIERS)
    server = serving(found.policies, serve) if found.policies else None
    if isinstance(server, Problem) and found.complete:
        problems.append(server)
    snapshot = None
    if known.catalog is not None and isinstance(server, Page) and not _failed(problems):
        snapshot = _assemble(fingerprint(files), known.catalog, found.policies, phrases, server)
        if run_tests:
            problems += _run_tests(snapshot, found.policies)
    ordered = tuple(sorted(set(problems)))
    if snapshot is None or _failed(ordered):
        return None, ordered
    return replace(snapshot, problems=ordered), ordered


def fingerprint(files: Mapping[str, str]) -> str:
    """Short, and the same wherever the same files lie: folders do not count, names and texts do."""
    digest = hashlib.sha256()
    for name, text in sorted(
        (name.replace("\\", "/").rsplit("/", 1)[-1], text) for name, text in files.items()
    ):
        for part in (name, text):
            encoded = part.encode("utf-8", "surrogatepass")
            digest.update(len(encoded).to_bytes(8, "big"))
            digest.update(encoded)
    return digest.hexdigest()[:12]


def _read_set(files: Mapping[str, str], problems: list[Problem]) -> _Set:
    pages: dict[str, list[Page]] = {"Catalog": [], "Policy": []}
    complete = bool(files)
    for name, text in sorted(files.items()):
        document, found = read(text, name)
        problems += found
        kind = None if document is None else _kind(document, problems)
        if document is None or kind is None:
            complete = False
            continue
        data, shape = check_shape(document, SCHEMAS[kind])
        already = {(problem.line, problem.column) for problem in found}
        problems += [problem for problem in shape if (problem.line, problem.column) not in already]
        pages[kind].append(Page(document, data))
    return _Set(tuple(pages["Catalog"]), tuple(pages["Policy"]), complete)


def _kind(document: Document, problems: list[Problem]) -> str | None:
    data = document.data
    if not isinstance(data, Mapping):
        problems.append(
            document.problem((), "WV112", "the file must be a mapping", "begin it with apiVersion: weave/v1")
        )
        return None
    kind = data.get("kind")
    if isinstance(kind, str) and kind in SCHEMAS:
        return kind
    meant = next((key for key in data if nearest(key, ["kind"])), "")
    if meant and "kind" not in data:
        message, hint = f"the document has no key {meant!r}", "did you mean 'kind'?"
        problems.append(document.problem((meant,), "WV110", message, hint, at_key=True))
    elif "kind" not in data:
        hint = "write kind: Catalog or kind: Policy"
        problems.append(document.problem((), "WV115", "the file does not say what it is", hint))
    else:
        hint = did_you_mean(str(kind), SCHEMAS)
        problems.append(document.problem(("kind",), "WV115", f"there is no kind {kind!r}", hint))
    return None


def _check_set(found: _Set, files: Mapping[str, str]) -> Iterator[Problem]:
    yield from check_catalogs(found.catalogs)
    yield from check_documents(found.policies)
    first = min(files, default="policies")
    if not found.policies and found.complete:
        hint = "write a file of kind: Policy"
        yield Problem(first, 1, 1, "WV310", "there is no policy in this set", hint)
    if not files or (found.complete and not names_in(found.catalogs, "models")):
        yield Problem(
            first, 1, 1, "WV317", "there are no models in this set", "write a file of kind: Catalog"
        )


def _known(found: _Set, problems: Sequence[Problem]) -> Known:
    """The catalog is made only of pages without errors."""
    files = {page.document.file for page in found.catalogs}
    broken = any(problem.severity == "error" and problem.file in files for problem in problems)
    catalog = None if broken or not found.complete else read_catalogs(found.catalogs)
    return Known(names_in(found.catalogs, "models"), catalog, found.complete)


def _assemble(
    name: str, catalog: Catalog, pages: Sequence[Page], phrases: Sequence[Phrases], server: Page
) -> Snapshot:
    compiled = [compile_policy(page, words) for page, words in zip(pages, phrases, strict=True)]
    policies: dict[str, Policy] = {policy.name: policy for policy in compiled}
    return Snapshot(name, catalog, policies, policies[server.data["metadata"]["name"]])


def _run_tests(snapshot: Snapshot, pages: Sequence[Page]) -> Iterator[Problem]:
    for page in pages:
        policy = snapshot.policies[page.data["metadata"]["name"]]
        assert isinstance(policy, CompiledPolicy)
        yield from run_cases(page, snapshot.catalog, decider(policy, snapshot.catalog), policy.asked)


def decider(policy: Policy, catalog: Catalog) -> Decide:
    """How the cases of a policy are decided: as requests are, in a world held still."""

    def decide(inputs: Inputs, trust: Trust, spend: Spend) -> Decided:
        verdict = policy.judge(inputs)
        requested = catalog.resolve(inputs["features"]["requested_model"])
        pool = eligible(catalog.models.values(), inputs["features"])
        errors = tuple(f"{step.name}: {step.detail}" for step in verdict.trace if step.result == "error")
        insisted = inputs["hints"].get("model")
        if insisted and verdict.source != "guard":
            choice = Choice(forced(insisted, pool, catalog), "forced", f"the client forced {insisted}")
        else:
            choice = choose(verdict, inputs, requested, pool, Bench(catalog, policy, trust))
        try:
            choice = _paid(choice, policy, inputs, requested, pool, catalog, spend)
        except BudgetError as error:
            fault = error.fault
            return Decided(verdict.rule, "", "budget", "", fault.message, errors, refused=fault.http_status)
        because = choice.gate.because if choice.gate else choice.source
        effort = verdict.action.effort if choice.source in ("guard", "rule") else ""
        return Decided(verdict.rule, choice.model.name, because, effort, choice.reason, errors, choice.plan)

    return decide


def _paid(
    choice: Choice,
    policy: Policy,
    inputs: Inputs,
    requested: Model | None,
    pool: Pool,
    catalog: Catalog,
    spend: Spend,
) -> Choice:
    purse = purse_of(policy.budgets, inputs, session_of(policy.pinning.key, inputs), spend, 0.0)
    choice = thrifty(choice, purse, inputs, requested, pool, catalog)
    targets = chain(choice.model, policy.failover.chains, pool)
    paid(targets, choice.source, purse, inputs["features"], False, catalog)
    return choice


def _failed(problems: Sequence[Problem]) -> bool:
    return any(problem.severity == "error" for problem in problems)
