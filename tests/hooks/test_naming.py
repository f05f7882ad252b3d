"""Where a call was made, told from what its module is called and what it is a part of."""

from __future__ import annotations

import pytest
from torch import nn

from attention_analyzer.hooks.layer_names import CallSite


@pytest.mark.parametrize(
    ("path", "holder", "kind"),
    [
        ("encoder.layer.0.attention.self", "BertAttention", "self"),
        ("decoder.layers.0.encoder_attn", "BartDecoderLayer", "cross"),
        ("decoder.block.0.layer.1.EncDecAttention", "T5LayerCrossAttention", "cross"),
        # LXMERT, Pix2Struct: only the class of what holds the attention says it.
        ("decoder.layer.0.encoder_decoder_attention.attention", "Pix2StructTextLayerCrossAttention", "cross"),
        ("encoder.x_layers.0.visual_attention.att", "LxmertCrossAttentionLayer", "cross"),
        ("encoder.x_layers.0.lang_self_att.self", "LxmertSelfAttentionLayer", "self"),
        # BridgeTower: a cross-modal layer attends to its own tokens, too.
        ("cross_modal_text_layers.0.attention.self", "BridgeTowerAttention", "self"),
        ("cross_modal_text_layers.0.crossattention.self", "BridgeTowerAttention", "cross"),
    ],
)  # fmt: skip
def test_what_it_is_called_and_what_holds_it_say_whether_it_is_cross_attention(
    path: str, holder: str, kind: str
) -> None:
    assert CallSite(nn.Identity(), path, causal=False, holder=holder).kind == kind
