"""Whether a site's axes are the padded tokens of a batch, so that padding can be told from text."""

from __future__ import annotations

from attention_analyzer.errors import UnsupportedModelError
from attention_analyzer.inputs import Prepared
from attention_analyzer.site import Kind
from attention_analyzer.weights.base import AttentionWeights


class OtherAxesError(UnsupportedModelError):
    """A site's axes are not the padded tokens; where each text's padding went is unknown, so each must run alone."""


def check_axes(prepared: Prepared, stack: str, kind: Kind, weights: AttentionWeights) -> None:
    """Raise an :class:`OtherAxesError` unless weights are as long as the padded texts that they should show."""
    queries, keys = prepared.axes(stack, kind)
    if weights.shape[1:] != (max(map(len, queries)), max(map(len, keys))):
        raise OtherAxesError(f"A site of {stack} {kind}-attention pools or widens its sequence.")
