"""``attn demo``: the main job, from text and model to tables and figures, on what is at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attention_analyzer.cli.bars import working
from attention_analyzer.cli.console import say
from attention_analyzer.cli.options import Model, analyzer_for

SENTENCE = "The quick brown fox jumps over the lazy dog."


def demo(
    text: Annotated[str, typer.Argument(help="A text.")] = SENTENCE,
    model: Model = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the files.")] = Path("demo-output"),
) -> None:
    """Run a full analysis on a bundled model.

    The head table is shown here; figures, the table and a page are written to the folder.
    """
    from attention_analyzer.cli.tables import print_table, write_table
    from attention_analyzer.models.catalog import offline_encoder
    from attention_analyzer.view.figures import head_figure, layer_figure, map_figure, save_figure

    analyzer = analyzer_for(model or offline_encoder())
    with working("Analyzing every head"):
        record = analyzer.record(text)
        table = record.heads()
    focused = table.sort_values("confidence", ascending=False)
    columns = ["layer", "head", "confidence", "entropy", "distance", "self_weight", "previous_weight", "next_weight"]
    title = f"{analyzer.name} on {text!r}: the 10 most focused of {len(table)} heads"
    print_table(focused[[*columns, "special_weight"]].head(10), title=title)
    output.mkdir(parents=True, exist_ok=True)
    layer, head = (int(focused.iloc[0][name]) for name in ("layer", "head"))
    site = {"stack": str(focused.iloc[0]["stack"]), "kind": focused.iloc[0]["kind"]}
    write_table(table, output / "heads.csv")
    with working("Drawing"):
        save_figure(head_figure(record, layer, head, **site), output / f"L{layer}H{head}.png")
        save_figure(layer_figure(record, layer, **site), output / f"layer-{layer}.png")
        save_figure(map_figure(record, "entropy"), output / "entropy.png")
    say(f"\nIn {output}/: all numbers (heads.csv), the most focused head (L{layer}H{head}.png), its layer and a map.")
