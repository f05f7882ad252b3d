"""``attn tokens``: how important each token is, by any method, and which method can be trusted on this text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from attention_analyzer.cli.bars import counting, working
from attention_analyzer.cli.console import say
from attention_analyzer.cli.options import (
    Audio,
    Device,
    Encoding,
    FigureFile,
    Images,
    Model,
    OptionalText,
    Output,
    Truncate,
    analyzer_for,
    choice,
    media_of,
    read_text,
)

if TYPE_CHECKING:
    from attention_analyzer.attribution import AttributionComparison, TokenImportance

_SHOWN = ["method", "comprehensiveness", "sufficiency", "deletion_area", "ahead_of_random", "beats_random"]
_METHODS = "received, last_layer, rollout (…_unadjusted, …_normalized, …_chefer), flow, norm, gradient_attention, "
_METHODS += "integrated_gradients, occlusion."


def tokens(
    text: OptionalText = None,
    *,
    image: Images = None,
    audio: Audio = None,
    model: Model = None,
    output: Output = None,
    method: Annotated[
        list[str] | None,
        typer.Option(help=f"{_METHODS} Default: received. Repeatable with --compare."),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            help="Prediction to explain: next, next=X, position:K, sequence, mask, mask:K, class, token_class:K, "
            "pooled …; !=Y at the end contrasts it with Y."
        ),
    ] = None,
    unit: Annotated[
        Literal["token", "word"],
        typer.Option(
            parser=choice("token", "word", piece="token"), metavar="[token|word]", help="Unit to score: token or word."
        ),
    ] = "token",
    special: Annotated[
        Literal["keep", "apart", "exclude"],
        typer.Option(help="Special tokens: included, shown separately, or dropped."),
    ] = "keep",
    compare: Annotated[bool, typer.Option("--compare", help="Compare all methods by deletion tests.")] = False,
    deletion: Annotated[
        Literal["mask", "hide", "remove", "mean", "blur", "noise", "silence"] | None,
        typer.Option(help="How --compare deletes tokens; cells of an image: mean, blur, noise."),
    ] = None,
    figure: FigureFile = None,
    truncate: Truncate = False,
    encoding: Encoding = None,
    device: Device = "auto",
) -> None:
    """Attribute a prediction to tokens.

    Attention received by default, or any attribution by name; --compare ranks them on this text. With --image or
    --audio the cells of the image or the stretches of the sound are scored.
    """
    from attention_analyzer.cli.tables import check_format
    from attention_analyzer.errors import InputError
    from attention_analyzer.view.figures import check_figure_path, save_figure

    check_format(output)
    if figure is not None:
        check_figure_path(figure)
    if not compare and (len(method or ()) > 1 or deletion is not None):
        raise InputError("Several methods, and --deletion, need --compare.")
    media = media_of(image, audio)
    if text is None and not media:
        raise InputError("There is nothing to analyze; give a text, a file, --image or --audio.")
    content = None if text is None else read_text(text, encoding)
    analyzer = analyzer_for(model, device)
    settings: dict[str, Any] = {"target": target, "unit": unit, "special": special, "truncate": truncate, **media}
    found: AttributionComparison | TokenImportance
    if compare:
        with counting("Comparing the methods", "steps") as progress:
            found = analyzer.compare_attributions(
                content, methods=method, deletion=deletion, progress=progress, **settings
            )
        _report_comparison(found, output)
    else:
        with working("Scoring the tokens"):
            found = analyzer.token_importance(content, *(method or ()), **settings)
        _report(found, output)
    if figure is not None:
        say(f"Figure saved to {save_figure(found.plot(), figure)}")


def _report(found: TokenImportance, output: Path | None) -> None:
    from attention_analyzer.cli.tables import print_table, write_table

    if output is not None:
        write_table(found.table, output)
        say(f"{len(found)} {found.unit}s written to {output}")
        return
    say(f"{found.model_name}: {found.title}, for {found.target}")
    print_table(found.table, digits=4)
    for token, share in found.special_tokens:
        say(f"{token}: {share:.4f} of the whole")
    say(found.special_handling)


def _report_comparison(found: AttributionComparison, output: Path | None) -> None:
    from attention_analyzer.cli.tables import print_table, write_table

    if output is not None:
        write_table(found.table, output)
        say(f"{len(found.importances)} methods written to {output}")
        return
    print_table(found.tokens)
    say()
    shown = found.table[_SHOWN]
    # Random orders, in the last row, have no number of their own.
    beaten = [f"{count} of 3" for count in shown["beats_random"][:-1]] + ["–"]
    print_table(shown.assign(beats_random=beaten))
    say(found.summary)
    for name, reason in found.refused.items():
        say(f"Without {name}: {reason}")
