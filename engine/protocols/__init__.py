"""Every protocol the engine speaks, by name."""

from engine.protocols.anthropic_messages import ANTHROPIC_MESSAGES
from engine.protocols.gemini import GEMINI
from engine.protocols.openai_chat import OPENAI_CHAT
from engine.protocols.openai_responses import OPENAI_RESPONSES
from engine.protocols.shape import Protocol

PROTOCOLS: dict[str, Protocol] = {
    ANTHROPIC_MESSAGES.name: ANTHROPIC_MESSAGES,
    OPENAI_CHAT.name: OPENAI_CHAT,
    GEMINI.name: GEMINI,
    OPENAI_RESPONSES.name: OPENAI_RESPONSES,
}
