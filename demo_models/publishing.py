"""Put a trained model where the package ships it: float16 weights, tokenizer and numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from demo_models.training_loop import Outcome, Plan, write_loss_curve

BUNDLED = Path(__file__).parents[1] / "src" / "attention_analyzer" / "models" / "bundled"


def publish(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, plan: Plan, outcome: Outcome, name: str
) -> Path:
    """Write everything but the card into the bundled folder of `name`."""
    folder = BUNDLED / name
    save_float16(model, tokenizer, folder)
    write_loss_curve(outcome.losses, folder / "loss.csv")
    (folder / "measured.json").unlink(missing_ok=True)
    record(
        folder,
        {
            "parameters": sum(p.numel() for p in model.parameters()),
            "steps": len(outcome.losses),
            "planned_steps": plan.steps,
            "minutes_allowed": plan.minutes,
            "minutes": outcome.seconds / 60,
        },
    )
    return folder


def save_float16(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Half the bytes on disk; the configuration still asks for float32, so that is what loads."""
    model.to("cpu", torch.float16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    path = folder / "config.json"
    configuration = json.loads(path.read_text(encoding="utf-8"))
    configuration["dtype"] = "float32"
    path.write_text(json.dumps(configuration, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    for file in folder.iterdir():
        file.chmod(0o644)  # safetensors writes files that only their owner can read


def record(folder: Path, numbers: dict[str, Any]) -> None:
    """Add numbers to `measured.json`, from which the card is written."""
    path = folder / "measured.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    text = json.dumps(_rounded(known | numbers), indent=2)
    path.write_text(text + "\n", encoding="utf-8")


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    if isinstance(value, dict):
        return {name: _rounded(item) for name, item in value.items()}
    return value
