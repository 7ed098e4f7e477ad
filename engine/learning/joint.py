"""How models fare on a kind of task, learned together: what each plan of them is worth follows from that.

**The model.** A task has a difficulty z that nobody sees, the same for every model that tries it. Model m does the task
with probability σ(a_m + b·z). Whoever judges its work (a test run, usually) accepts bad work with probability
σ(f + d_m) and rejects good work with probability σ(r). So a strength and a blindness for each model, and three figures
that all of them share: b, how much of success lies in the task; f and r, how the evidence errs.

A plan's value then needs no trials of its own: it is the chance that a step's work is right and accepted, or that
the step is left and the rest of the plan does it, averaged over z. Because z is shared, it is understood that who
takes over after a failure meets the harder tasks, and the difference between two plans has the error of a difference.

**What is kept** are counts of what happened (`Pattern`: the steps that ran, each with its verdict and its score, where
known), and the figures fitted to them: the mode of the posterior by Newton steps, with the sum of squared scores for
its curvature (Berndt, Hall, Hall and Hausman, 1974). Each fit goes on from the last one, so the figures are a fold of
what was told, in order. Integrals over z are sums over seven points (Gauss and Hermite).

**Priors.** Nobody starts from nothing: a verifier is expected to be wrong about one time in eight (between 3 and 35 %),
models to do somewhat more than half of the tasks (between 5 and 97 %), and success to depend on the task as much
as on the model, which is what public tables of coding agents show. A kind of task starts from what is known of the
kinds above it, as far as that was told by others.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

# One step of a pattern: the model's number; 0 rejected, 1 accepted, 2 no verdict; 0 failed, 1 done, 2 not known.
Seen = tuple[int, int, int]
Pattern = tuple[Seen, ...]

# Points and weights for averages over a standard normal (Hermite polynomial of degree 7).
POINTS = (
    -3.750439717725742,
    -2.366759410734541,
    -1.154405394739968,
    0.0,
    1.154405394739968,
    2.366759410734541,
    3.750439717725742,
)
WEIGHTS = (
    0.000548268855972,
    0.030757123967586,
    0.240123178605013,
    0.457142857142857,
    0.240123178605013,
    0.030757123967586,
    0.000548268855972,
)
SHARED = 3  # log b, f, r; then a and d of each model

_PRIOR_SHARED = ((math.log(2.0), 0.4), (-2.0, 0.7), (-2.0, 0.7))
_PRIOR_MODEL = ((0.6, 1.4), (0.0, 0.5))
# How far a kind of task may lie from the kinds above it.
_APART_SHARED = (0.15, 0.3, 0.3)
_APART_MODEL = (0.7, 0.3)

_LONGEST_STEP = 0.8


def prior(index: int) -> tuple[float, float]:
    """Mean and deviation of a figure before anything is known."""
    return _PRIOR_SHARED[index] if index < SHARED else _PRIOR_MODEL[(index - SHARED) % 2]


def _apart(index: int) -> float:
    return _APART_SHARED[index] if index < SHARED else _APART_MODEL[(index - SHARED) % 2]


def sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x)) if x > -700.0 else 0.0


@dataclass(frozen=True, slots=True)
class Fit:
    """The figures and how sure they are: the Cholesky factor of the posterior's precision, row by row."""

    figures: tuple[float, ...]
    factor: tuple[tuple[float, ...], ...]
    deviations: tuple[float, ...]


Expected = Sequence[tuple[float, float]]  # mean and precision of each figure


def expected(size: int, above: Fit | None, share: float) -> list[tuple[float, float]]:
    """What is expected of a kind of task: what is known above it, as far as that was not told of itself (`share`)."""
    found = []
    for index in range(size):
        mean, deviation = prior(index)
        if above is None or index >= len(above.figures):
            found.append((mean, 1.0 / (deviation * deviation)))
            continue
        own = share / (deviation * deviation)
        others = (1.0 - share) / (_apart(index) ** 2 + above.deviations[index] ** 2)
        precision = own + others
        found.append(((own * mean + others * above.figures[index]) / precision, precision))
    return found


def fit(patterns: Sequence[tuple[Pattern, float]], before: Sequence[float], expecting: Expected) -> Fit:
    """One Newton step from the figures of `before` towards those that explain the patterns best."""
    size = len(expecting)
    figures = [before[i] if i < len(before) else expecting[i][0] for i in range(size)]
    tables = _tables(figures)
    gradient = [precision * (mean - now) for (mean, precision), now in zip(expecting, figures, strict=True)]
    curvature = [[0.0] * size for _ in range(size)]
    for index, (_, precision) in enumerate(expecting):
        curvature[index][index] = precision
    for pattern, count in patterns:
        indexes, seen = _slopes(pattern, tables)
        for chance, slopes in seen:
            # What an observation teaches is the same whichever way it came out: the squared slope of its chance,
            # over chance times counter-chance.
            told = count * chance / max(1.0 - chance, 1e-9)
            for at, i in enumerate(indexes):
                slope = slopes[at]
                gradient[i] += count * slope
                slope *= told
                row = curvature[i]
                for j, other in zip(indexes[: at + 1], slopes, strict=False):
                    row[j] += slope * other
    factor = _cholesky(curvature)
    step = _solve(factor, gradient)
    longest = max(map(abs, step))
    scale = _LONGEST_STEP / longest if longest > _LONGEST_STEP else 1.0
    return Fit(
        tuple(now + scale * by for now, by in zip(figures, step, strict=True)),
        tuple(tuple(row[: i + 1]) for i, row in enumerate(factor)),
        tuple(_deviation(factor, index) for index in range(size)),
    )


# Of one model at each point of z, for each kind of observation: its probability, and the slopes of the logarithm
# of that by log b, f, r, a and d.
_Table = list[list[tuple[float, float, float, float, float]]]


def _tables(figures: Sequence[float]) -> list[_Table]:
    spread, miss = math.exp(figures[0]), sigmoid(figures[2])
    found = []
    for at in range(SHARED, len(figures), 2):
        pass_bad = sigmoid(figures[1] + figures[at + 1])
        rows: _Table = [[] for _ in range(9)]
        for z in POINTS:
            p = min(max(sigmoid(figures[at] + spread * z), 1e-9), 1.0 - 1e-9)
            slope, by_miss, by_pass = p * (1.0 - p), miss * (1.0 - miss), pass_bad * (1.0 - pass_bad)
            # probability, its slope by p, by the rate of misses, by the rate of bad work that passes
            joint = (
                ((1.0 - p) * (1.0 - pass_bad), pass_bad - 1.0, 0.0, p - 1.0),  # rejected, failed
                (p * miss, miss, p, 0.0),  # rejected, done
                (p * miss + (1.0 - p) * (1.0 - pass_bad), miss - 1.0 + pass_bad, p, p - 1.0),
                ((1.0 - p) * pass_bad, -pass_bad, 0.0, 1.0 - p),  # accepted, failed
                (p * (1.0 - miss), 1.0 - miss, -p, 0.0),  # accepted, done
                (p * (1.0 - miss) + (1.0 - p) * pass_bad, 1.0 - miss - pass_bad, -p, 1.0 - p),
                (1.0 - p, -1.0, 0.0, 0.0),
                (p, 1.0, 0.0, 0.0),
                (1.0, 0.0, 0.0, 0.0),
            )
            for row, (chance, dp, dm, df) in zip(rows, joint, strict=True):
                row.append(
                    (
                        chance,
                        dp * slope * spread * z / chance,
                        df * by_pass / chance,
                        dm * by_miss / chance,
                        dp * slope / chance,
                    )
                )
        found.append(rows)
    return found


def _slopes(
    pattern: Pattern, tables: Sequence[_Table]
) -> tuple[tuple[int, ...], list[tuple[float, list[float]]]]:
    """The figures a pattern depends on, in order; and of each observation in it, one after another, the chance it had
    after those before it, and the slopes of the logarithm of that chance by these figures."""
    models = sorted({model for model, _, _ in pattern})
    indexes = (0, 1, 2, *(SHARED + 2 * model + part for model in models for part in (0, 1)))
    weights: list[float] = list(WEIGHTS)
    sums = [[0.0] * len(indexes) for _ in weights]  # at each z, the slopes of all that was seen so far
    before, whole = [0.0] * len(indexes), 1.0
    found = []
    for model, verdict, score in pattern:
        place = SHARED + 2 * models.index(model)
        table = tables[model]
        base = table[8]
        for code in _observations(verdict, score):
            row = table[code]
            total = 0.0
            now = [0.0] * len(indexes)
            for z, (chance, by_spread, by_pass, by_miss, by_strength) in enumerate(row):
                behind, old = base[z], sums[z]
                old[0] += by_spread - behind[1]
                change = by_pass - behind[2]
                old[1] += change
                old[2] += by_miss - behind[3]
                old[place] += by_strength - behind[4]
                old[place + 1] += change
                weight = weights[z] = weights[z] * chance / behind[0]
                total += weight
                for index, slope in enumerate(old):
                    now[index] += weight * slope
            now = [slope / total for slope in now]
            found.append((total / whole, [a - b for a, b in zip(now, before, strict=True)]))
            before, whole, base = now, total, row
    return indexes, found


def _observations(verdict: int, score: int) -> tuple[int, ...]:
    """The rows of a table for what was seen of a step, one after another: first its verdict, then its score."""
    if verdict == 2:
        return () if score == 2 else (6 + score,)
    return (3 * verdict + 2,) if score == 2 else (3 * verdict + 2, 3 * verdict + score)


@dataclass(frozen=True, slots=True)
class Value:
    """What a plan is expected to be worth, how likely each step is to run, and the slope of its worth by figure."""

    quality: float
    reach: tuple[float, ...]
    slopes: dict[int, float]


def value(steps: Sequence[int], figures: Sequence[float]) -> Value:
    """Of a plan of these models. `figures` has room for each of them."""
    spread, miss = math.exp(figures[0]), sigmoid(figures[2])
    by_miss_rate = miss * (1.0 - miss)
    passes = [sigmoid(figures[1] + figures[SHARED + 2 * model + 1]) for model in steps]
    last = len(steps) - 1
    quality, reach, slopes = 0.0, [0.0] * len(steps), dict.fromkeys(range(SHARED), 0.0)
    for model in steps:
        slopes[SHARED + 2 * model] = slopes[SHARED + 2 * model + 1] = 0.0
    for weight, z in zip(WEIGHTS, POINTS, strict=True):
        chances = [sigmoid(figures[SHARED + 2 * model] + spread * z) for model in steps]
        behind = [0.0] * len(steps)  # what the plan is worth from this step on
        behind[last] = chances[last]
        for at in range(last - 1, -1, -1):
            p, passed = chances[at], passes[at]
            left = p * miss + (1.0 - p) * (1.0 - passed)
            behind[at] = p * (1.0 - miss) + left * behind[at + 1]
        quality += weight * behind[0]
        running = weight
        for at, model in enumerate(steps):
            reach[at] += running
            p, passed, index = chances[at], passes[at], SHARED + 2 * model
            slope = p * (1.0 - p)
            if at == last:
                slopes[index] += running * slope
                slopes[0] += running * slope * spread * z
                break
            after = behind[at + 1]
            by_p = 1.0 - miss + (miss - 1.0 + passed) * after
            slopes[index] += running * by_p * slope
            slopes[0] += running * by_p * slope * spread * z
            by_pass = running * (p - 1.0) * after * passed * (1.0 - passed)
            slopes[1] += by_pass
            slopes[index + 1] += by_pass
            slopes[2] += running * p * (after - 1.0) * by_miss_rate
            running *= p * miss + (1.0 - p) * (1.0 - passed)
    return Value(quality, tuple(reach), slopes)


def right(steps: Sequence[int], accepted: bool, figures: Sequence[float]) -> float:
    """How likely the last step's work is right, once evidence accepted or rejected it and the work of the steps before
    it was rejected."""
    spread, miss = math.exp(figures[0]), sigmoid(figures[2])
    good = whole = 0.0
    for weight, z in zip(WEIGHTS, POINTS, strict=True):
        for model in steps[:-1]:
            p, passed = _of(model, figures, spread, z)
            weight *= p * miss + (1.0 - p) * (1.0 - passed)
        p, passed = _of(steps[-1], figures, spread, z)
        done = weight * p * (1.0 - miss if accepted else miss)
        good += done
        whole += done + weight * (1.0 - p) * (passed if accepted else 1.0 - passed)
    return good / whole if whole > 0.0 else 0.0


def _of(model: int, figures: Sequence[float], spread: float, z: float) -> tuple[float, float]:
    """How likely a model does a task of this difficulty, and that bad work of it is accepted."""
    at = SHARED + 2 * model
    return sigmoid(figures[at] + spread * z), sigmoid(figures[1] + figures[at + 1])


def deviation(slopes: dict[int, float], known: Fit) -> float:
    """How far a sum with these slopes may be off. Figures that were not fitted are as unsure as their priors."""
    size = len(known.figures)
    vector = [slopes.get(index, 0.0) for index in range(size)]
    solved: list[float] = []
    variance = 0.0
    for row, slope in zip(known.factor, vector, strict=True):
        found = (slope - sum(a * b for a, b in zip(row, solved, strict=False))) / row[-1]
        solved.append(found)
        variance += found * found
    for index, slope in slopes.items():
        if index >= size:
            variance += (slope * prior(index)[1]) ** 2
    return math.sqrt(variance)


def normal(x: float) -> float:
    """The cumulative distribution of a standard normal."""
    return 0.5 * math.erfc(-x / math.sqrt(2.0))


def _cholesky(matrix: Sequence[Sequence[float]]) -> list[list[float]]:
    """Of the lower half of a positive definite matrix."""
    size = len(matrix)
    factor = [[0.0] * size for _ in range(size)]
    for i in range(size):
        row = factor[i]
        for j in range(i):
            other = factor[j]
            row[j] = (matrix[i][j] - sum(row[k] * other[k] for k in range(j))) / other[j]
        row[i] = math.sqrt(matrix[i][i] - sum(row[k] * row[k] for k in range(i)))
    return factor


def _solve(factor: Sequence[Sequence[float]], right: Sequence[float]) -> list[float]:
    size = len(right)
    half = [0.0] * size
    for i in range(size):
        half[i] = (right[i] - sum(factor[i][k] * half[k] for k in range(i))) / factor[i][i]
    found = [0.0] * size
    for i in range(size - 1, -1, -1):
        found[i] = (half[i] - sum(factor[k][i] * found[k] for k in range(i + 1, size))) / factor[i][i]
    return found


def _deviation(factor: Sequence[Sequence[float]], index: int) -> float:
    """The square root of a diagonal element of the inverse."""
    size = len(factor)
    half = [0.0] * size
    for i in range(index, size):
        unit = 1.0 if i == index else 0.0
        half[i] = (unit - sum(factor[i][k] * half[k] for k in range(index, i))) / factor[i][i]
    return math.sqrt(sum(part * part for part in half))
