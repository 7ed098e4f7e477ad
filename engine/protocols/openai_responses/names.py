"""The protocol's name and its words."""

from engine.protocols.mapping import wire_map

ORIGIN = "openai-responses"
NAMES = wire_map("openai_responses")
