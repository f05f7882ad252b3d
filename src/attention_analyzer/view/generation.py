"""What a model looked at while it wrote, token by token."""

from __future__ import annotations

import pandas as pd
import torch

from attention_analyzer.captured import CapturedAttention
from attention_analyzer.errors import InputError


def written_tokens(record: CapturedAttention, most: int = 3) -> pd.DataFrame:
    """One row for each written token: ``position``, ``written``, and the tokens looked at most with their weights.

    The row of a token is that of the query which predicts it, one position earlier; weights are means over all heads
    of all layers of the decoder, of its cross-attention where it has a source.

    Args:
        record: of :meth:`AttentionAnalyzer.generate`.
        most: how many tokens are named: columns ``looked_at_1``, ``weight_1``, ….

    Raises:
        InputError: the record is not of a model that wrote.
    """
    if "written" not in record.notes:
        raise InputError("This record is of a given text; analyzer.generate(prompt) makes one of a written text.")
    cross = any(site.kind == "cross" for site in record.sites)
    place = ("decoder", "cross" if cross else "self")
    entries = [entry for entry in record.entries if (entry.site.stack, entry.site.kind) == place]
    queries, keys = entries[0].queries, entries[0].keys
    first = 0 if cross else int(record.notes["prompt_tokens"]) - 1
    mean = torch.stack([entry.weights[:, first : len(queries) - 1].mean(0) for entry in entries]).mean(0)
    rows = []
    for position, row in enumerate(mean, first + 1):
        strongest = row.topk(min(most, len(keys)))
        found: dict[str, object] = {"position": position, "written": queries.pieces[position]}
        pairs = zip(strongest.indices.tolist(), strongest.values.tolist(), strict=True)
        for rank, (key, weight) in enumerate(pairs, 1):
            found |= {f"looked_at_{rank}": keys.pieces[key], f"weight_{rank}": weight}
        rows.append(found)
    ranked = [name for rank in range(1, min(most, len(keys)) + 1) for name in (f"looked_at_{rank}", f"weight_{rank}")]
    return pd.DataFrame(rows, columns=["position", "written", *ranked])
