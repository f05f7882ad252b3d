"""``attn track``: attention over training, from saved checkpoints or a history that was recorded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attention_analyzer.cli.bars import counting
from attention_analyzer.cli.console import say
from attention_analyzer.cli.options import Device, FigureFile

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure

    from attention_analyzer.training.history import History


def track(
    checkpoints: Annotated[
        str,
        typer.Argument(
            metavar="CKPT_DIR", help="Folder of checkpoints, a recorded history, or a Hugging Face id (with -r)."
        ),
    ],
    *,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Output folder for the history.")] = None,
    figure: FigureFile = None,
    revision: Annotated[
        list[str] | None,
        typer.Option("--revision", "-r", help="Revision on the Hub whose name ends in its step; repeatable."),
    ] = None,
    against: Annotated[Path | None, typer.Option(help="Another recorded history to compare with.")] = None,
    device: Device = "auto",
) -> None:
    """Report how heads develop in training.

    When heads acquired their roles, and warnings of collapsed entropy, dead and duplicate heads.
    """
    from attention_analyzer.errors import InputError
    from attention_analyzer.training.history import History as Recorded
    from attention_analyzer.view.figures import check_figure_path, save_figure

    if figure is not None:
        check_figure_path(figure)
    recorded = _recorded(checkpoints) if revision is None else None
    if recorded is not None and output is not None:
        raise InputError(f"{checkpoints} is already a history; -o applies only to checkpoints.")
    if recorded is None:
        from attention_analyzer.training.checkpoints import track_checkpoints

        with counting("Measuring", "checkpoints") as progress:
            recorded = track_checkpoints(
                checkpoints,
                output,
                revisions=revision,
                progress=progress,
                device=device,
            )
    say(recorded.report())
    drawn: Callable[[], Figure] = recorded.plot
    if against is not None:
        runs = recorded.compare(Recorded.open(against), (Path(checkpoints).name, against.name))
        say(runs)
        drawn = runs.plot
    if output is not None:
        say(f"History of {len(recorded.steps)} steps in {output}")
    if figure is not None:
        save_figure(drawn(), figure)
        say(f"Figure saved to {figure}")


def _recorded(path: str) -> History | None:
    """The history at a path; None where there is none, so that it may be a folder of checkpoints."""
    from attention_analyzer.models.catalog import BUNDLED
    from attention_analyzer.training.history import History

    has_one = (Path(path) / "history.json").exists() or (BUNDLED / path / "history.json").exists()
    return History.load(path) if has_one else None
