"""Direct effects, composition scores and patching beside TransformerLens, on the same random weights.

TransformerLens is no dependency of the project. Run it in an environment of its own that has both::

    python -m venv lens
    lens/bin/pip install -e . "transformer-lens<3"
    lens/bin/python -m benchmarks.against_transformer_lens

Prints the largest difference of each number, and exits with 1 if one is above 1e-4.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
import transformers
from torch import Tensor

from attention_analyzer import AttentionAnalyzer

TOLERANCE = 1e-4
WIDTH, LAYERS, HEADS, VOCABULARY, LENGTH = 48, 3, 4, 211, 14
PLACES = ((0, 1), (1, 3), (2, 0), (2, 2))


def gpt2() -> tuple[Any, dict[str, Any], Callable[..., Any]]:
    from transformer_lens.pretrained.weight_conversions import convert_gpt2_weights

    config = transformers.GPT2Config(n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS, vocab_size=VOCABULARY, n_positions=64)
    model = transformers.GPT2LMHeadModel(config)
    return (
        model,
        {"normalization_type": "LN", "act_fn": "gelu_new", "d_mlp": 4 * WIDTH, "n_ctx": 64},
        convert_gpt2_weights,
    )


def llama(groups: int = HEADS) -> tuple[Any, dict[str, Any], Callable[..., Any]]:
    from transformer_lens.pretrained.weight_conversions import convert_llama_weights

    config = transformers.LlamaConfig(
        hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=HEADS, num_key_value_heads=groups,
        intermediate_size=96, vocab_size=VOCABULARY, max_position_embeddings=64, rms_norm_eps=1e-6,
    )  # fmt: skip
    options = {
        "normalization_type": "RMS", "act_fn": "silu", "d_mlp": 96, "n_ctx": 64, "positional_embedding_type": "rotary",
        "rotary_adjacent_pairs": False, "rotary_dim": WIDTH // HEADS, "final_rms": True, "gated_mlp": True, "eps": 1e-6,
    }  # fmt: skip
    if groups != HEADS:
        options["n_key_value_heads"] = groups
    return transformers.LlamaForCausalLM(config), options, convert_llama_weights


SHAPES: dict[str, Callable[[], Any]] = {
    "GPT-2": gpt2,
    "Llama": llama,
    "Llama, grouped keys": lambda: llama(2),
}


def both(name: str) -> tuple[AttentionAnalyzer, Any]:
    """The same weights as a model of transformers and as TransformerLens has them."""
    from transformer_lens import HookedTransformer, HookedTransformerConfig

    torch.manual_seed(0)
    model, options, convert = SHAPES[name]()
    with torch.no_grad():
        for parameter in model.parameters():
            scale = 0.2 if parameter.dim() == 1 else parameter.shape[-1] ** -0.5
            parameter.add_(torch.randn(parameter.shape) * scale)
    config = HookedTransformerConfig(
        n_layers=LAYERS, d_model=WIDTH, d_head=WIDTH // HEADS, n_heads=HEADS, d_vocab=VOCABULARY, seed=0, **options
    )
    lens = HookedTransformer(config)
    lens.load_and_process_state_dict(
        convert(model, config), fold_ln=True, center_writing_weights=False, center_unembed=False,
        fold_value_biases=False,
    )  # fmt: skip
    lens.set_use_attn_result(True)
    return AttentionAnalyzer(model.eval(), cache=False), lens


def differences(name: str) -> dict[str, float]:
    """The largest difference of each number."""
    analyzer, lens = both(name)
    generator = torch.Generator().manual_seed(1)
    clean = torch.randint(2, VOCABULARY, (1, LENGTH), generator=generator)
    corrupted = clean.clone()
    corrupted[0, [3, 7]] = torch.tensor([5, 9])
    target, versus = 17, 90
    found: dict[str, float] = {}
    with torch.no_grad():
        logits, cache = lens.run_with_cache(clean)
        plain = analyzer.model(input_ids=clean).logits
    found["logits"] = float((logits - plain).abs().max())
    found |= _effects(analyzer, lens, cache, {"input_ids": clean}, target, versus)
    found |= _compositions(analyzer, lens)
    found |= _patching(analyzer, lens, cache, clean, corrupted, target, versus)
    return found


def _effects(
    analyzer: AttentionAnalyzer, lens: Any, cache: Any, inputs: Any, target: int, versus: int
) -> dict[str, float]:
    ours = analyzer.effects(inputs, target=target, versus=versus).rows.set_index("component")["effect"]
    direction = (lens.W_U[:, target] - lens.W_U[:, versus]).detach()
    heads = cache.stack_head_results(layer=-1, pos_slice=-1)
    scaled = cache.apply_ln_to_stack(heads, layer=-1, pos_slice=-1)[:, 0].detach() @ direction
    names = [f"L{layer}H{head}" for layer in range(LAYERS) for head in range(HEADS)]
    mlps = torch.stack([cache["mlp_out", layer][0, -1] for layer in range(LAYERS)])[:, None]
    written = cache.apply_ln_to_stack(mlps, layer=-1, pos_slice=-1)[:, 0].detach() @ direction
    # TransformerLens counts an MLP's output bias to its output, here it is part of the row, too.
    return {
        "direct effects of heads": max(
            abs(float(ours[name]) - float(each)) for name, each in zip(names, scaled, strict=True)
        ),
        "direct effects of MLPs": max(abs(float(ours[f"L{n} MLP"]) - float(written[n])) for n in range(LAYERS)),
    }


def _compositions(analyzer: AttentionAnalyzer, lens: Any) -> dict[str, float]:
    table = analyzer.compositions().table.set_index(["sender", "receiver", "input"])["score"]
    found = {}
    for mode, name in (("Q", "query"), ("K", "key"), ("V", "value")):
        scores = lens.all_composition_scores(mode).detach()
        largest = 0.0
        for (sender, receiver, which), ours in table.items():
            if which == name:
                one, two = ([int(part) for part in head[1:].split("H")] for head in (sender, receiver))
                largest = max(largest, abs(float(scores[one[0], one[1], two[0], two[1]]) - ours))
        found[f"composition, {name}"] = largest
    return found


def _patching(
    analyzer: AttentionAnalyzer, lens: Any, cache: Any, clean: Tensor, corrupted: Tensor, target: int, versus: int
) -> dict[str, float]:
    def lens_value(place: str, put: Callable[[Tensor], Tensor]) -> float:
        with torch.no_grad():
            row = lens.run_with_hooks(corrupted, fwd_hooks=[(place, lambda states, **_: put(states))])[0, -1]
        return float(row[target] - row[versus])

    given = ({"input_ids": clean}, {"input_ids": corrupted})
    names = {"heads": "z", "queries": "q", "keys": "k", "values": "v"}
    found = {}
    for what, place in names.items():
        table = analyzer.patch(*given, what=what, target=target, versus=versus).table.set_index(["layer", "head"])[
            "value"
        ]  # type: ignore[arg-type]
        largest = 0.0
        for layer, head in PLACES:
            hook = f"blocks.{layer}.attn.hook_{place}"
            if (layer, head) not in table.index or head >= cache[hook].shape[2]:
                continue

            def put(states: Tensor, hook: str = hook, head: int = head) -> Tensor:
                states = states.clone()
                states[:, :, head] = cache[hook][:, :, head]
                return states

            largest = max(largest, abs(lens_value(hook, put) - float(table[layer, head])))
        found[f"patching, {what}"] = largest
    for what, place in (("residual", "hook_resid_pre"), ("mlps", "hook_mlp_out")):
        patched = analyzer.patch(*given, what=what, target=target, versus=versus).table  # type: ignore[arg-type]
        table = patched.set_index(["layer", "position"])["value"]
        largest = 0.0
        for layer, at in ((0, 3), (1, 7), (2, LENGTH - 1)):
            hook = f"blocks.{layer}.{place}"

            def put_at(states: Tensor, hook: str = hook, at: int = at) -> Tensor:
                states = states.clone()
                states[:, at] = cache[hook][:, at]
                return states

            largest = max(largest, abs(lens_value(hook, put_at) - float(table[layer, at])))
        found[f"patching, {what}"] = largest
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    worst = 0.0
    for name in SHAPES:
        start = time.perf_counter()
        found = differences(name)
        print(f"{name} ({time.perf_counter() - start:.1f} s)")
        for what, difference in found.items():
            print(f"  {what:28} {difference:.1e}")
        worst = max(worst, *found.values())
    print(f"largest difference {worst:.1e}, allowed {TOLERANCE:.0e}")
    return 0 if worst <= TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main())
