"""Requests become facts: typed values for policies and learners, from one walk over the conversation."""

from engine.features.hints import hints
from engine.features.history import History
from engine.features.registry import FEATURES, FeatureValue, features
from engine.features.survey import Survey, estimate_tokens, survey, tasks, warm

__all__ = [
    "FEATURES",
    "FeatureValue",
    "History",
    "Survey",
    "estimate_tokens",
    "features",
    "hints",
    "survey",
    "tasks",
    "warm",
]
