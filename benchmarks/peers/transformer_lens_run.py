"""All attention patterns of a text with TransformerLens (its bridge to transformers, which switches to eager)."""

import torch
from common import FOLDER, load, report
from transformer_lens.model_bridge import TransformerBridge

bridge = TransformerBridge.boot_transformers(str(FOLDER / "model"), hf_model=load("eager"), device="cpu")


def run(ids):
    with torch.no_grad():
        cache = bridge.run_with_cache(ids, names_filter=lambda name: name.endswith("hook_pattern"))[1]
    return [cache[f"blocks.{layer}.attn.hook_pattern"][0] for layer in range(6)]


report(run)
