"""The ways in which a call of attention is captured, and why one is taken."""

from __future__ import annotations

INTERFACE = "interface hook"
FUSED = "dispatch hook, fused attention"
LAYER = "dispatch hook, fused layer"
FLEX = "dispatch hook, flex attention"
SOFTMAX = "dispatch hook, softmax"
SPARSE = "dispatch hook, sparse layer"

#: Why a call was captured in this way: what the model does there.
WHY = {
    INTERFACE: "asks transformers' attention interface for its function",
    FUSED: "calls scaled_dot_product_attention itself",
    LAYER: "runs torch's fused encoder layer or attention (inference); its queries and keys are computed once more",
    FLEX: "calls flex_attention itself; its scores are computed once more",
    SOFTMAX: "multiplies a softmax result with values itself; those weights are captured",
    SPARSE: "attends in blocks or bands, which are assembled",
}
