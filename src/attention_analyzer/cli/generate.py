"""``attn generate``: a model writes, and what each written token looked at."""

from __future__ import annotations

from typing import Annotated

import typer

from attention_analyzer.cli.bars import working
from attention_analyzer.cli.console import say
from attention_analyzer.cli.options import Device, Encoding, Model, Text, analyzer_for, read_text_or_chat


def generate(
    prompt: Text,
    model: Model = None,
    tokens: Annotated[int, typer.Option("--tokens", "-n", help="Maximum number of tokens to generate.")] = 40,
    save: Annotated[str | None, typer.Option(help="Save the record to this .attn file.")] = None,
    encoding: Encoding = None,
    device: Device = "auto",
) -> None:
    """Generate text and show its attention.

    For each generated token, the tokens that it attended to most.
    """
    from attention_analyzer.cli.tables import print_table
    from attention_analyzer.view.generation import written_tokens

    analyzer = analyzer_for(model, device)
    with working("Writing"):
        record = analyzer.generate(read_text_or_chat(prompt, encoding), max_new_tokens=tokens)
    say(f"{record.notes['written'].strip()}\n")
    print_table(
        written_tokens(record),
        title="Tokens that each generated token attended to most (mean over all heads)",
        digits=2,
    )
    if save is not None:
        say(f"\nRecord saved to {record.save(save)}")
