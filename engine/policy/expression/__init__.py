"""CEL: text is parsed, type-checked and turned into Python; whole rule lists become one function.

    vocabulary = Vocabulary.from_schema(schema)                   # roots: features, hints, identity
    task, complaints = compile_expression("has(hints.task) ? hints.task : features.phase", vocabulary)
    vocabulary = vocabulary.with_variable("task", task.type)      # read as variables.task
    rule, complaints = compile_expression("variables.task == 'plan'", vocabulary, "bool")
    ladder = compile_ladder([("task", task)], [Rung("planning", rule)])
    ladder({"features": {...}, "hints": {}, "identity": {...}})   # Match(index=0, errors=())

**The idea.** cel-python parses (`parse.py`, the only door) and is the reference. The checker (`check.py`) knows
every type from the input schema, what may be missing and what may fail. What it proves is generated as nodes of
Python's `ast` (`generate.py`): a rule then costs well under a microsecond where cel-python takes a millisecond. What
it cannot prove (values of unknown type, timestamps, durations, types as values) runs on cel-python's interpreter with
our functions in place of its own (`interpreted.py`), and says so with a warning, WV211.

**What callers may count on.** `compile_expression` never raises for any text; it gives None with at least one error,
or an expression with perhaps some warnings. `evaluate` gives a value or raises EvaluationError, nothing else. A
ladder never raises: a rung that has no value is skipped, or matches if it is a guard, and is reported either way.
Inputs are plain dictionaries and are trusted to be of the schema's types; where they are not, the rungs concerned
fail and the others go on. Everything made here is immutable, safe in any number of threads, and can be pickled, so
that a worker process can compile. Variables are computed at most once, when first needed. `present` tells what a
condition proves to be there, and `Vocabulary.where` what that allows behind it.

**Semantics** are the CEL specification's; its simple tests that need no protocol buffers are under
`tests/cases/expression/specification`. Ints have 64 bits and overflow is an error, as are division and modulus by
zero; both truncate towards zero. `&&` and `||` give an answer when one side alone decides it, whichever side fails.
Where cel-python 0.5 is wrong we differ on purpose, each case in `tests/cases/expression/departures.yaml`:

- numbers of different types compare by value (it raises), but do not add (it lets double + int through);
- values of different types are unequal, in lists too (it raises; and it takes `true` for 1);
- x/0.0 has its sign, 0.0/0.0 is not a number, which is not equal to itself inside a list either;
- a list has nothing at a negative index; the smallest int modulo -1 overflows;
- `string(true)` is 'true'; texts convert only as the specification lists ('1_0', ' 7', '0x1F' do not), nor do bools
  and null to numbers and texts; there are no durations in days;
- long strings keep their newlines, all escapes are known, characters in bytes are UTF-8;
- added strings keep `contains()`; errors inside map(), filter() and exists_one() are absorbed like any other; a map
  with an error inside is an error; Python's own exceptions (int of infinity) are errors of the expression;
- `map()` may have a condition; min() and reduce() do not exist; the strings and math extensions do.

We differ from the specification itself in these: its checker refuses `1 == 1.0`, ours lets it through as its runtime
does; a raw string cannot end in a backslash (cel-python's grammar); `strings.quote`, `format`, optionals, two-variable
macros and messages are not offered; `math.greatest` takes one type of number at a time; a loop's variable may not hide
a root. In what is interpreted two faults of cel-python stay: has() is false where the path before it fails, and an
error inside map(), filter() or exists_one() is not absorbed.

**Safety.** No text reaches the parser before a linear scan has bounded its length, its brackets and its strings:
cel-python's own patterns take exponential time on an open string. Patterns are RE2's, of bounded size, and a client
cannot choose them. Every expression has a bound on its cost, from the sizes the schema gives or a guess; texts stop
growing at a million characters whatever the inputs are.

The interpreted path takes no lock. cel-python's evaluator keeps its state in itself and its activation; only
its CompiledRunner uses module globals, and mixing runners in one process crashes, so that one is never used.
"""

from engine.policy.expression.compiled import COST_LIMIT, Expression, compile_expression
from engine.policy.expression.complaints import CODES, Complaint, EvaluationError
from engine.policy.expression.ladder import Ladder, Match, Rung, compile_ladder, with_variables
from engine.policy.expression.types import Type
from engine.policy.expression.vocabulary import Vocabulary

__all__ = [
    "CODES",
    "COST_LIMIT",
    "Complaint",
    "EvaluationError",
    "Expression",
    "Ladder",
    "Match",
    "Rung",
    "Type",
    "Vocabulary",
    "compile_expression",
    "compile_ladder",
    "with_variables",
]
