"""Retrieval heads of one question: heads that attend to the very token that the model writes next (Wu et al. 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from attention_analyzer.errors import InputError, UnsupportedModelError
from attention_analyzer.hooks.forward import capture_forward
from attention_analyzer.hooks.layer_names import CallSite
from attention_analyzer.inputs import accepted
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.parts.measure import sinks_of
from attention_analyzer.result import Result
from attention_analyzer.sources.prompt import Prompt, read_prompt
from attention_analyzer.stats import benjamini_hochberg
from attention_analyzer.text.chat import Messages
from attention_analyzer.text.splitters import Level
from attention_analyzer.weights.base import AttentionWeights

Floats = NDArray[np.float64]
#: False discovery rate at which a head counts as a retrieval head.
FDR = 0.05


@dataclass(frozen=True, repr=False)
class RetrievalHeads(Result):
    """Which heads copied the answer from the prompt.

    Attributes:
        answer: the answer; ``copied``: those of its tokens that stand in the prompt's parts, as text.
        table: one row per head, best first: ``layer``, ``head``, ``copied`` (share of those tokens whose strongest key
            is the token itself, in the prompt), ``weight`` (mean weight on the token in the prompt), ``control`` (its
            mean where the prompt's tokens are dealt out anew), ``p_value``, ``q_value``, ``retrieves`` (q ≤ 0.05) and
            ``part`` (where the token stands that has most weight).
    """

    answer: str
    copied: tuple[str, ...]
    table: pd.DataFrame = field(compare=False)
    model_name: str = ""

    def to_frame(self) -> pd.DataFrame:
        return self.table

    def facts(self) -> tuple[str, ...]:
        found = self.table[self.table["retrieves"]]
        counted = f"{len(found)} of {len(self.table)} heads retrieve (q ≤ {FDR:g} against shuffled prompts)"
        answer = f"answer: {' '.join(self.answer.split())[:60]!r}; {len(self.copied)} of its tokens stand in the prompt"
        best = self.table.iloc[0]
        return (
            answer,
            counted,
            f"most: L{best['layer']}H{best['head']}, weight {best['weight']:.2f} on {best['part']}",
        )


def retrieval_heads(
    loaded: LoadedModel,
    prompt: str | Messages | None = None,
    *,
    messages: Messages | None = None,
    documents: Sequence[Any] | None = None,
    answer: str | None = None,
    parts: Level | None = None,
    shuffles: int = 1000,
    max_new_tokens: int = 64,
    seed: int = 0,
) -> RetrievalHeads:
    """Score every head by its weight, where each token of the answer is written, on that token in the prompt.

    The control deals out the tokens of the prompt's parts anew among their positions, so it has the same weights and
    the same tokens, at other places.

    Args:
        prompt, messages, documents, answer, parts, max_new_tokens: as for :func:`.find.sources`.
        shuffles: how often tokens are dealt out anew.

    Raises:
        InputError: the prompt cannot be used, or no token of the answer stands in its parts.
        UnsupportedModelError: the model does not continue texts, or has no attention over the text alone.
    """
    if type(shuffles) is not int or shuffles < 20:
        raise InputError(f"shuffles must be at least 20, not {shuffles!r}.")
    read = read_prompt(
        loaded,
        prompt,
        messages=messages,
        documents=documents,
        answer=answer,
        parts=parts,
        max_new_tokens=max_new_tokens,
    )
    sinks = sinks_of(read.tokens).numpy()
    positions = np.array([token for n in range(len(read.candidates)) for token in read.run_of(n) if not sinks[token]])
    ids = np.array(read.tokens.ids)[positions] if len(positions) else np.array([], int)
    written = [number for number, token in enumerate(read.answer_ids) if (ids == token).any()]
    if not written:
        raise InputError(
            f"No token of the answer {read.answer!r} stands in the parts of the prompt, so nothing can be copied; give "
            "another answer, or finer parts=…."
        )
    heads, weights = _weights(loaded, read, written, positions)
    wanted = np.array(read.answer_ids)[written]
    found = _on(weights, ids, wanted)
    generator = np.random.default_rng(seed)
    controls = np.stack([_on(weights, generator.permutation(ids), wanted) for _ in range(shuffles)])
    p = (1 + (controls >= found - 1e-12).sum(0)) / (1 + shuffles)
    q = benjamini_hochberg(p)
    strongest = ids[weights.argmax(-1)] == wanted
    owners = np.array(read.parts.owners)[positions]
    copies = np.where(ids == wanted[:, None], weights, -1.0)
    best = owners[copies.max(1).argmax(-1)]
    table = pd.DataFrame(
        {
            "layer": [layer for layer, _ in heads],
            "head": [head for _, head in heads],
            "copied": strongest.mean(-1),
            "weight": found,
            "control": controls.mean(0),
            "p_value": p,
            "q_value": q,
            "retrieves": q <= FDR,
            "part": [read.parts.names[number] for number in best],
        }
    )
    pieces = loaded.need_tokenizer().convert_ids_to_tokens([read.answer_ids[number] for number in written])
    order = np.lexsort((-found, p))
    table = table.iloc[order].reset_index(drop=True)
    return RetrievalHeads(read.answer, tuple(map(str, pieces)), table, loaded.name)


def _on(weights: Floats, ids: NDArray[np.int64], wanted: NDArray[np.int64]) -> Floats:
    """Each head's mean weight on the keys of the token that is written, ``[head]``."""
    return np.asarray((weights * (ids == wanted[:, None])).sum(-1).mean(-1))


def _weights(
    loaded: LoadedModel, read: Prompt, written: Sequence[int], positions: NDArray[np.int64]
) -> tuple[list[tuple[int, int]], Floats]:
    """Heads as (layer, head), and their weights ``[head, written token, position]``, from one forward."""
    ids = torch.tensor([[*read.tokens.ids, *read.answer_ids]])[:, :-1]
    size = ids.shape[1]
    rows = [len(read.tokens) - 1 + number for number in written]

    def keep(_: CallSite, weights: AttentionWeights) -> np.ndarray | None:
        if weights.shape[1:] != (size, size):
            return None
        tiles = [weights.tile(0, slice(0, weights.heads), slice(row, row + 1)) for row in rows]
        return torch.cat(tiles, dim=1)[..., positions].double().cpu().numpy()

    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    with loaded.evaluating() as model:
        forward = capture_forward(model, loaded.to_device(accepted(model, inputs)), valid=None, keep=keep)
    found = [(site, part) for site, part in forward.sites if part is not None]
    if not found:
        raise UnsupportedModelError(f"{loaded.name} has no attention over the tokens of the text alone.")
    heads = [(site.layer, head) for site, part in found for head in range(len(part))]
    return heads, np.concatenate([part for _, part in found])
