"""weave-engine: decides, for each request of a coding agent, which model serves it."""

__version__ = "0.1.0"
