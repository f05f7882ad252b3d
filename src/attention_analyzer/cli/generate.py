"""``attn generate``: a model writes, and what each written token looked at."""

from __future__ import annotations

from typing import Annotated

import typer

from attention_analyzer.cli.options import Device, Model, Text, analyzer_for, read_text, working


def generate(
    prompt: Text,
    model: Model = None,
    tokens: Annotated[int, typer.Option("--tokens", "-n", help="Tokens to write at most.")] = 40,
    save: Annotated[str | None, typer.Option(help="Save the record to this file.")] = None,
    device: Device = "auto",
) -> None:
    """Let a model write, and show for each written token which tokens were looked at most."""
    import pandas as pd
    import torch

    from attention_analyzer.cli.tables import print_table

    analyzer = analyzer_for(model, device)
    with working("Writing"):
        record = analyzer.generate(read_text(prompt), max_new_tokens=tokens)
    print(f"{record.notes['written'].strip()}\n")
    cross = any(site.kind == "cross" for site in record.sites)
    entries = [entry for entry in record.entries if entry.site.kind == ("cross" if cross else "self")]
    entries = [entry for entry in entries if entry.site.stack == "decoder"]
    queries, keys = entries[0].queries, entries[0].keys
    first = 0 if cross else record.notes["prompt_tokens"] - 1
    mean = torch.stack([entry.weights[:, first:].mean(0) for entry in entries]).mean(0)
    rows = []
    for query in range(first, len(queries) - (0 if cross else 1)):
        row = mean[query - first]
        strongest = row.topk(min(3, len(keys))).indices.tolist()
        seen = ", ".join(f"{keys.pieces[key]} {float(row[key]):.2f}" for key in strongest)
        written = queries.pieces[query + 1] if query + 1 < len(queries) else "(end)"
        rows.append((written, seen))
    print_table(pd.DataFrame(rows, columns=["written", "looked at most (mean over all heads)"]))
    if save is not None:
        print(f"\nRecord saved to {record.save(save)}")
