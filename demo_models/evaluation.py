"""The numbers on the cards: what each published model reaches on text it was not trained on."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from attention_analyzer.models.loading import load
from attention_analyzer.patterns.labels import label_heads
from demo_models import dates, probes
from demo_models.masking import framed, masked
from demo_models.token_stream import TokenStream

Measured = dict[str, Any]
HELD_OUT_WINDOWS, LONG_WINDOWS = 64, 16
DATE_EXAMPLES = 1000
#: Positions before the one and after the other are compared.
EARLY, LATE = 100, 200


def held_out_rows(stream: TokenStream, bos: int, length: int, count: int) -> Tensor:
    """Windows of text that open with `bos`, the same ones every time."""
    windows = stream.windows(np.random.default_rng(0), count, length - 1)
    return torch.from_numpy(np.pad(windows, ((0, 0), (1, 0)), constant_values=bos))


def next_token_losses(model: PreTrainedModel, rows: Tensor) -> Tensor:
    """Cross-entropy in nats of every token but the first, `[row, token]`."""
    with torch.no_grad():
        logits = torch.cat([model(part).logits[:, :-1] for part in rows.split(8)])
    return nn.functional.cross_entropy(logits.float().transpose(1, 2), rows[:, 1:], reduction="none")


def unigram_loss(trained_on: list[TokenStream], tokens: np.ndarray, vocabulary: int) -> float:
    """Cross-entropy of `tokens` under the (add-one) frequencies of the training text."""
    counts = np.ones(vocabulary)
    for stream in trained_on:
        counts += np.bincount(stream.tokens, minlength=vocabulary)
    return float(-np.log(counts / counts.sum())[tokens].mean())


def measure_decoder(folder: Path, streams: dict[str, TokenStream]) -> Measured:
    """Held-out loss, the use of a repetition, and the strongest heads."""
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    bos, vocabulary = tokenizer.bos_token_id, len(tokenizer)
    measured: Measured = {}
    for source in ("novels", "stories"):
        rows = held_out_rows(streams[f"{source}_held_out"], bos, 256, HELD_OUT_WINDOWS)
        measured[f"{source}_loss"] = next_token_losses(model, rows).mean().item()
        measured[f"{source}_unigram_loss"] = unigram_loss([streams[f"{source}_train"]], rows[:, 1:].numpy(), vocabulary)
    long = next_token_losses(model, held_out_rows(streams["novels_held_out"], bos, 1024, LONG_WINDOWS))
    measured["novels_loss_positions_1_255"] = long[:, :255].mean().item()
    measured["novels_loss_positions_768_1023"] = long[:, 767:].mean().item()

    repeated = probes.repeated_random_tokens(vocabulary, bos)
    losses = next_token_losses(model, repeated).unflatten(1, (probes.REPEATS, probes.BLOCK))
    # The first token of a repeat cannot be known to be one.
    measured["random_first_time_loss"] = losses[:, 0].mean().item()
    measured["random_second_time_loss"] = losses[:, 1, 1:].mean().item()
    strengths = probes.repetition_strengths(probes.attention_weights(model, repeated))
    measured["heads"] = {name: _strongest(values) for name, values in strengths.items()}
    return measured


def measure_encoder(folder: Path, streams: dict[str, TokenStream]) -> Measured:
    """Loss and accuracy on masked pieces of held-out text."""
    model = AutoModelForMaskedLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    measured: Measured = {}
    for source in ("novels", "stories"):
        generator = np.random.default_rng(0)
        windows = streams[f"{source}_held_out"].windows(generator, HELD_OUT_WINDOWS, 126)
        rows = framed(windows, tokenizer, end_with_sentence=False)
        batch = masked(rows, tokenizer, generator)
        known = batch["labels"] >= 0
        places, labels = batch["places"][known], batch["labels"][known]
        with torch.no_grad():
            logits = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        logits = logits.flatten(0, 1)[places].float()
        measured[f"{source}_loss"] = nn.functional.cross_entropy(logits, labels).item()
        measured[f"{source}_accuracy"] = (logits.argmax(-1) == labels).float().mean().item()
        measured[f"{source}_unigram_loss"] = unigram_loss([streams[f"{source}_train"]], labels.numpy(), len(tokenizer))
        counts = np.bincount(streams[f"{source}_train"].tokens, minlength=len(tokenizer))
        measured[f"{source}_most_frequent_accuracy"] = float((labels.numpy() == counts.argmax()).mean())
    return measured


def measure_translator(folder: Path) -> Measured:
    """Exact answers on held-out dates, and where cross-attention points while writing them."""
    model = AutoModelForSeq2SeqLM.from_pretrained(folder, attn_implementation="eager")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    generator = random.Random(1)
    examples = [dates.example(generator, held_out=True) for _ in range(DATE_EXAMPLES)]
    return {
        "exact": exact_share(model, tokenizer, examples),
        **pointing(model, tokenizer, examples),
    }


def exact_share(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, examples: list[dates.Example]) -> float:
    """Share of examples whose whole answer is right, written freely."""
    source = tokenizer([e.text for e in examples], padding=True, return_tensors="pt")
    written = model.generate(**source, max_new_tokens=16, do_sample=False)
    answers = tokenizer.batch_decode(written, skip_special_tokens=True)
    right = [answer == e.target for answer, e in zip(answers, examples, strict=True)]
    return sum(right) / len(right)


def pointing(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, examples: list[dates.Example]) -> Measured:
    """Cross-attention against truth, for the digits of the right answer.

    A digit counts as pointed at where the largest weight lies on one of its true source pieces.
    `chance` is what a uniformly random source position would score, `of_other_sentence` what the
    same attention scores against the true positions of the next example: the part of the score that
    comes from where in a sentence dates usually stand.
    """
    source = tokenizer([e.text for e in examples], padding=True, return_tensors="pt")
    labels = tokenizer([e.target for e in examples], return_tensors="pt")["input_ids"]
    with torch.no_grad():
        output = model(**source, labels=labels, output_attentions=True)
    weights = torch.stack(output.cross_attentions)  # [layer, example, head, target, source]
    truth = torch.zeros(weights.shape[1], weights.shape[3], weights.shape[4], dtype=torch.bool)
    for row, one in enumerate(examples):
        for character, places in enumerate(one.sources):
            truth[row, character, list(places)] = True
    scored = truth.any(-1)
    lengths = source["attention_mask"].sum(-1)
    chance = (truth.sum(-1) / lengths[:, None])[scored].mean().item()

    hits = truth[None, :, None].expand_as(weights).gather(-1, weights.argmax(-1, keepdim=True))
    by_head = hits[..., 0].transpose(2, 3)[:, scored].float().mean(1)
    weight_by_head = (weights * truth[None, :, None]).sum(-1).transpose(2, 3)[:, scored].mean(1)
    by_layer = _mean_head_hits(weights, truth, scored)
    return {
        "chance": chance,
        "pointing_by_head": by_head.tolist(),
        "true_weight_by_head": weight_by_head.tolist(),
        "pointing_of_mean_head_by_layer": by_layer,
        "of_other_sentence": max(_mean_head_hits(weights, truth.roll(1, 0), scored)),
    }


def _mean_head_hits(weights: Tensor, truth: Tensor, scored: Tensor) -> list[float]:
    """The same score for the mean of each layer's heads."""
    best = weights.mean(2).argmax(-1, keepdim=True)
    hits = truth[None].expand(len(best), -1, -1, -1).gather(-1, best)[..., 0]
    return hits[:, scored].float().mean(1).tolist()


def named_heads(folder: Path, texts: list[str]) -> Measured:
    """What heads do on these texts, by the names they earn there against both controls."""
    labels = label_heads(load(str(folder)), texts)
    earned = labels.labels.drop_duplicates(["layer", "head", "pattern"])
    found: dict[str, list[dict[str, float]]] = {}
    for row in earned.itertuples(index=False):
        place = {"layer": int(row.layer), "head": int(row.head), "strength": float(row.strength)}
        found.setdefault(str(row.pattern), []).append(place)
    for heads in found.values():
        heads.sort(key=lambda head: -head["strength"])
    return {"passages": len(texts), "named_heads": found}


def reach_of_previous_token(folder: Path, texts: list[str]) -> Measured:
    """The best head's mean weight on the token before, early and late in a text that fills all positions."""
    model = AutoModelForMaskedLM.from_pretrained(folder, attn_implementation="eager")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    size = model.config.max_position_embeddings
    encoded = tokenizer(" ".join(texts), truncation=True, max_length=size, return_tensors="pt")
    with torch.no_grad():
        weights = torch.cat(model(**encoded, output_attentions=True).attentions)  # [layer, head, query, key]
    before = weights.diagonal(-1, 2, 3)
    early, late = before[..., 1:EARLY].mean(-1), before[..., LATE:-1].mean(-1)
    return {"previous_token_early": early.max().item(), "previous_token_late": late.max().item()}


def _strongest(values: Tensor, count: int = 3) -> list[dict[str, float]]:
    best = values.flatten().topk(count)
    return [
        {"layer": place // values.shape[1], "head": place % values.shape[1], "strength": strength}
        for place, strength in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]
