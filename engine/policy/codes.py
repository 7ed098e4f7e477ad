"""Every diagnostic code, in one sentence each: the reference manual's table.

WV1xx how a file is written, WV2xx types in expressions, WV3xx meaning, WV4xx cost and safety, WV5xx a policy's
own tests. Codes are never used again for something else.
"""

from collections.abc import Mapping

from engine.policy.expression import CODES as EXPRESSION_CODES

CODES: Mapping[str, str] = {
    "WV100": "Something failed inside the engine while it read the policies.",
    "WV101": "The file cannot be read, or its text is not YAML.",
    "WV102": "A key is written twice in one mapping.",
    "WV103": "A key is not text, or other YAML readers would not take it for text.",
    "WV104": "The file is too large, too deeply nested, or has too many values or aliases.",
    "WV105": "The file is empty or holds more than one document.",
    "WV106": "Type tags and merge keys are not read here.",
    "WV107": "A number is not finite or does not fit in 64 bits.",
    "WV110": "A key that nothing here reads.",
    "WV111": "A key that is required is missing, or keys exclude one another.",
    "WV112": "A value of the wrong type.",
    "WV113": "A value that is not among those allowed.",
    "WV114": "A value of the right type that cannot be right: out of range, empty, malformed.",
    "WV115": "The file does not say that it is a Catalog or a Policy.",
    **EXPRESSION_CODES,
    "WV301": "There is no model or tier of this name.",
    "WV302": "There is no endpoint of this name.",
    "WV303": "There is no learner of this name.",
    "WV304": "The same name is used twice.",
    "WV305": "Nothing can reach this rule.",
    "WV306": "The value named is not in the vocabulary.",
    "WV307": "A failover chain leads to a model with a smaller context.",
    "WV308": "A guard's failover leads to another endpoint.",
    "WV309": "A model has no price.",
    "WV310": "Nothing says which policy serves, or there is none.",
    "WV311": "An alias is hidden by one above it.",
    "WV312": "The name means something else in this language.",
    "WV313": "An endpoint's address or header cannot be used.",
    "WV314": "Something is declared and never used.",
    "WV315": "No model is of this tier.",
    "WV316": "A guard leaves its choice to a learner.",
    "WV317": "The set has no models.",
    "WV318": "A learner tells tasks apart by a value that hardly repeats.",
    "WV319": "A rule that is no guard forbids failover.",
    "WV320": "There is no other policy of this name.",
    "WV322": "A canary lacks a guard or a budget of the policy it stands in for.",
    "WV323": "A rule names a model that cannot carry the requests the rule is for.",
    "WV324": "No rule reads this variable.",
    "WV325": "There is no dialect of this name.",
    "WV326": "The dialect is a way of speaking another protocol than the endpoint's.",
    "WV327": "An endpoint is at the address of a vendor that has a dialect, and names none.",
    "WV330": "The name of a plan means something else, or stands where no plan can.",
    "WV331": "A plan's next step is of a lower tier than the one that failed.",
    "WV332": "A client's own credential would go to more than one vendor.",
    "WV407": "The rules may together cost more than is allowed.",
    "WV501": "A case does not come out as expected.",
    "WV502": "The cases fire fewer rules than demanded.",
    "WV503": "A case has a value that no request can have.",
    "WV504": "A case names a rule, model or tier that is not there.",
    "WV505": "The cases find fewer conditions both true and false than demanded.",
}
