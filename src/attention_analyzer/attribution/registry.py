"""The table of all attribution methods. A new one is a new file in this room and one line here."""

from __future__ import annotations

from attention_analyzer.attribution.alti import Alti, AltiLogit
from attention_analyzer.attribution.flow import Flow
from attention_analyzer.attribution.gradient import GradientAttention
from attention_analyzer.attribution.integrated import IntegratedGradients
from attention_analyzer.attribution.last_layer import LastLayer
from attention_analyzer.attribution.method import Attribution
from attention_analyzer.attribution.norm import NormWeighted
from attention_analyzer.attribution.occlusion import Occlusion
from attention_analyzer.attribution.received import Received
from attention_analyzer.attribution.rollout import ChefersRollout, NormalizedRollout, Rollout, UnadjustedRollout
from attention_analyzer.attribution.value_zeroing import ValueZeroing
from attention_analyzer.deprecation import ATTRIBUTION_VALUES, renamed_arguments
from attention_analyzer.errors import SelectionError

#: Every method: first those that describe attention, then those that follow the prediction.
ATTRIBUTIONS: tuple[Attribution, ...] = (
    Received(),
    LastLayer(),
    Rollout(),
    UnadjustedRollout(),
    NormalizedRollout(),
    ChefersRollout(),
    Flow(),
    NormWeighted(),
    ValueZeroing(),
    Alti(),
    AltiLogit(),
    GradientAttention(),
    IntegratedGradients(),
    Occlusion(),
)


@renamed_arguments(values={"name": ATTRIBUTION_VALUES["method"]})
def attribution_named(name: str) -> Attribution:
    """The method of that name.

    Raises:
        SelectionError: there is none.
    """
    found = next((method for method in ATTRIBUTIONS if method.name == name), None)
    if found is None:
        known = ", ".join(method.name for method in ATTRIBUTIONS)
        raise SelectionError(f"There is no attribution method {name!r}; the methods are {known}.")
    return found
