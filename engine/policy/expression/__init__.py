"""CEL expressions."""

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
