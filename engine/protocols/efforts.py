"""The reasoning effort that an OpenAI model is asked for, in Chat and in Responses."""

from engine.core.catalog import Model
from engine.core.conversation import Loss, Reasoning
from engine.protocols.extras import nearest
from engine.protocols.mapping import WireMap


def effort_for(
    wanted: Reasoning, model: Model, model_id: str, names: WireMap, losses: list[Loss], usual: str = ""
) -> str:
    """The effort to ask for; empty where none can be. `usual` is meant by who only says that it should think."""
    off = wanted.mode == "disabled" or wanted.effort == "none"
    if "thinking" not in model.can:
        if not off:
            losses.append(Loss("thinking", f"{model.name} does not think"))
        return ""
    if off and names.is_model("none", model_id):
        return "none"
    if off:
        losses.append(Loss("thinking", f"{model.name} cannot be told not to think"))
        return ""
    effort = wanted.effort
    if not effort and wanted.budget_tokens is not None:
        effort = names.effort_of(wanted.budget_tokens)
    if not effort and wanted.mode in ("enabled", "adaptive"):
        effort = usual
    if effort in ("xhigh", "max") and names.is_model("xhigh", model_id):
        return nearest(wanted.effort, "xhigh", losses)
    return nearest(wanted.effort, names.efforts.get(effort, "high"), losses) if effort else ""
