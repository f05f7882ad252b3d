"""``attn models``: what can be had here."""

from __future__ import annotations

from attention_analyzer.cli.console import say


def models() -> None:
    """List available models.

    Those that load on this machine without a network.
    """
    import pandas as pd

    from attention_analyzer.cli.tables import print_table
    from attention_analyzer.models.catalog import available

    rows = [(model.name, model.source, model.summary, str(model.folder)) for model in available()]
    if not rows:
        say("No models are available offline. Give a Hugging Face id or a local folder.")
        return
    print_table(pd.DataFrame(rows, columns=["name", "source", "model", "folder"]))
    say("\nBesides these, any local folder of a transformers model and, with a network, any hub id.")
