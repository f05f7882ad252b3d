"""How the decoder's attention came to be: every head's statistics at every saved moment.

The table is small enough to ship; with it go the weights of an early and a middle moment. The last
moment is `demo-decoder` itself. Of these three the table has every head's pattern on one short text.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.training import History
from attention_analyzer.training.snapshot import Measuring
from demo_models import cards, probes, publishing
from demo_models.evaluation import next_token_losses

FOLDER = publishing.BUNDLED / "demo-decoder-history"


def publish_history(
    moments: Path, tokenizer: PreTrainedTokenizerFast, held_out_rows: torch.Tensor, tokens_per_step: int
) -> None:
    """Write the history and the early and middle checkpoints.

    A folder in `moments` holds weights alone; the tokenizer never changes while a model is trained.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    folders = sorted(moments.glob("step-*"))
    table = pd.concat(
        [_moment(folder, tokenizer, held_out_rows, tokens_per_step) for folder in folders], ignore_index=True
    )
    chosen = chosen_steps(table)
    # A short training may have one and the same moment in two of these roles.
    shown = list(dict.fromkeys([*(moments / f"step-{step:05d}" for step in chosen.values()), folders[-1]]))
    with_patterns(table, shown, tokenizer).save(FOLDER)
    for name, step in chosen.items():
        _publish_checkpoint(moments / f"step-{step:05d}", tokenizer, FOLDER / name)
    (FOLDER / "checkpoints.json").write_text(json.dumps(chosen, indent=2) + "\n", encoding="utf-8")
    cards.write_history_card(FOLDER, sorted(set(table["step"])), chosen, len(table))


def chosen_steps(table: pd.DataFrame) -> dict[str, int]:
    """Early: words are known, induction is not. Middle: its strongest head is half-way there."""
    strongest = table.groupby("step")["induction"].max()
    middle = int((strongest - strongest.iloc[-1] / 2).abs().idxmin())
    early = int(strongest.index[strongest.index <= middle / 4].max())
    return {"early": early, "middle": middle}


def with_patterns(table: pd.DataFrame, folders: list[Path], tokenizer: PreTrainedTokenizerFast) -> History:
    """The history with the patterns of the models in these folders, each named after its step."""
    kept, tokens = [], ()
    for folder in folders:
        loaded = LoadedModel(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), tokenizer)
        measuring = Measuring(loaded, metrics=(), patterns=())
        tokens, _ = measuring.kept_tokens
        step = int(folder.name.removeprefix("step-"))
        columns = ["step", "layer", "head", "pattern", "pattern_queries"]
        kept.append(measuring.table(loaded).assign(step=step)[columns])
    whole = table.merge(pd.concat(kept), on=["step", "layer", "head"], how="left")
    whole["pattern_queries"] = whole["pattern_queries"].fillna(0).astype("int16")
    return History(whole, "demo-decoder", tokens)


def _moment(
    folder: Path, tokenizer: PreTrainedTokenizerFast, held_out_rows: torch.Tensor, tokens_per_step: int
) -> pd.DataFrame:
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32)
    step = int(folder.name.removeprefix("step-"))
    loss = next_token_losses(model, held_out_rows).mean().item()
    columns = head_statistics(model, tokenizer)
    return pd.DataFrame(
        [
            {
                "step": step,
                "tokens_seen": step * tokens_per_step,
                "loss": loss,
                "stack": "decoder",
                "kind": "self",
                "layer": layer,
                "head": head,
                **{name: values[layer, head].item() for name, values in columns.items()},
            }
            for layer, head in _heads(columns["entropy"])
        ]
    )


def head_statistics(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> dict[str, torch.Tensor]:
    """All columns of one moment, `[layer, head]` each; the model must use eager attention."""
    text = tokenizer(probes.PROBE_TEXT, return_tensors="pt")["input_ids"]
    random = probes.repeated_random_tokens(len(tokenizer), tokenizer.bos_token_id)
    return {
        **probes.text_statistics(probes.attention_weights(model, text)),
        **probes.repetition_strengths(probes.attention_weights(model, random)),
    }


def _heads(values: torch.Tensor) -> Iterator[tuple[int, int]]:
    layers, heads = values.shape
    return ((layer, head) for layer in range(layers) for head in range(heads))


def _publish_checkpoint(source: Path, tokenizer: PreTrainedTokenizerFast, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    publishing.save_float16(model, tokenizer, target)
