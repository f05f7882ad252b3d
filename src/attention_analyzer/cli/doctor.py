"""``attn doctor``: what is installed here, and the proof that what would be shown is what the model does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attention_analyzer.cli.bars import working
from attention_analyzer.cli.console import say
from attention_analyzer.cli.options import Audio, Device, Images, Video, analyzer_for, media_of, read_text

if TYPE_CHECKING:
    from attention_analyzer.hooks.verification import VerificationReport

TEXT = "The keys to the old cabinet were on the table, so the visitor who lost them found the keys again."
#: What else is used where it is installed, and for what.
OPTIONAL = {
    "streamlit": "dashboard",
    "anywidget": "notebook viewer",
    "plotly": "interactive figures",
    "matplotlib": "figures for papers",
    "duckdb": "queries over scans",
    "ray": "scans on many machines",
}


def doctor(
    model: Annotated[
        str | None,
        typer.Argument(metavar="[MODEL]", help="Model name, local folder or Hugging Face id (see attn models)."),
    ] = None,
    text: Annotated[
        str | None, typer.Argument(metavar="[TEXT|FILE|-]", help="Text for the verification; default: a sentence.")
    ] = None,
    image: Images = None,
    audio: Audio = None,
    video: Video = None,
    device: Device = "auto",
) -> None:
    """Check the installation, verify a model.

    Shows what is installed, how a model's attention is captured and why, and verifies it on a text of yours. With
    --image, --audio or --video also which token lies where, tried by changing the original there.
    """
    from attention_analyzer.models.catalog import offline_encoder

    media = media_of(image, audio, video)
    content = read_text(text) if text is not None else None if media else TEXT
    with working("Checking the environment"):
        _print("Environment", _environment())
        _print("Attention backends", _backends())
    analyzer = analyzer_for(model or offline_encoder(), device)
    with working("Verifying the capture"):
        found = analyzer.diagnose(content, **media)
    proof = found.verification
    _print("How its attention is captured", dict(found.lines()))
    _print(f"VerificationReport on {found.name} ({found.kind}, {found.size})", dict(findings(proof)))
    say(verdict(proof))
    if any(check.wrong for check in found.places):
        say("Places FAILED: some tokens lie elsewhere than shown. Please report the model's architecture.")
    if not found.holds:
        raise typer.Exit(1)


def findings(proof: VerificationReport) -> Iterator[tuple[str, str]]:
    """A proof in words, line by line."""
    layers = len({(site.stack, site.kind, site.layer) for site in proof.sites})
    heads = sum(site.heads for site in proof.sites)
    yield "outputs", "bit-identical with and without capture" if proof.identical else "CHANGED by the capture"
    yield "model", "unchanged" if proof.untouched else "CHANGED"
    yield "backend", ", ".join(proof.backends)
    yield "attention", f"{layers} sites with {heads} heads; {', '.join(proof.forms) or 'every token sees every token'}"
    if proof.exact:
        yield "weights", f"reproduce every attention output within {proof.deviation:.0e} of its largest value"
    else:
        yield "weights", "read from the model's own computation (not recomputed)"
    if "sinks" not in proof.forms:
        yield "rows", f"sum to one within {proof.row_error:.0e}"
    if proof.not_captured:
        yield "not shown", f"{', '.join(proof.not_captured[:4])}: no weights over keys"


def verdict(proof: VerificationReport) -> str:
    """The proof in one sentence."""
    if proof.holds:
        return "Verification passed: captured attention matches the model."
    return "Verification FAILED: results for this model may be wrong. Please report its architecture."


def _environment() -> dict[str, str]:
    import importlib.util
    import platform
    from importlib.metadata import version

    import torch

    from attention_analyzer import __version__
    from attention_analyzer.weights.cpu.compiled import row_pass

    here = {name: purpose for name, purpose in OPTIONAL.items() if importlib.util.find_spec(name)}
    missing = [f"{name} ({purpose})" for name, purpose in OPTIONAL.items() if name not in here]
    devices = f"CPU with {torch.get_num_threads()} threads"
    if torch.cuda.is_available():
        devices = ", ".join([torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())])
    return {
        "attention-analyzer": f"{__version__} on Python {platform.python_version()}, {platform.system()}",
        "libraries": f"torch {torch.__version__}, transformers {version('transformers')}",
        "device": devices,
        "compiled pass": row_pass().reason,
        "optional": ", ".join(f"{name} {version(name)}" for name in here) or "none",
    } | ({"not installed": ", ".join(missing)} if missing else {})


def _backends() -> dict[str, str]:
    """Which attention implementations a model can be loaded with here; all of them are read."""
    import importlib.util

    import torch

    flash = importlib.util.find_spec("flash_attn") is not None
    return {
        "eager, sdpa": "always",
        "flex_attention": "yes" if torch.cuda.is_available() else "yes, on a CPU without gradients",
        "flash_attention_2": "yes" if flash else "no: the package flash-attn is not installed",
    }


def _print(title: str, lines: Mapping[str, Any]) -> None:
    width = max(map(len, lines))
    say(title)
    for name, value in lines.items():
        say(f"  {name:<{width}}  {value}")
    say()
