"""Arguments that many commands share, and how they become texts and an analyzer."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperCommand

from attention_analyzer.cli.bars import working
from attention_analyzer.cli.console import complain

if TYPE_CHECKING:
    from attention_analyzer.analyzer import AttentionAnalyzer
    from attention_analyzer.errors import Option
    from attention_analyzer.record import AttentionRecord
    from attention_analyzer.text.chat import Messages

_RECORDS = {".attn", ".safetensors"}
#: A word with such an end is meant as a file.
_FILES = {".txt", ".md", ".csv", ".jsonl", ".parquet", ".conllu", ".gz"} | _RECORDS
Text = Annotated[str, typer.Argument(metavar="TEXT|FILE|-", help="A text, a text file, or - for standard input.")]
TextOrRecord = Annotated[
    str,
    typer.Argument(
        metavar="TEXT|FILE|-",
        help="A text, a text file, a chat (.json), a record (.attn, .safetensors), or - for standard input.",
    ),
]
OptionalText = Annotated[
    str | None,
    typer.Argument(
        metavar="[TEXT|FILE|-]",
        help="A text, a text file, a chat (.json), a record (.attn, .safetensors), or - for standard input.",
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help="Model name, local folder or Hugging Face id (see attn models). Default: bert-base-uncased.",
    ),
]
Encoding = Annotated[
    str | None,
    typer.Option(
        help="Encoding of text files, such as cp1252. Default: UTF-8, or UTF-16 if the file has a byte-order mark."
    ),
]
Device = Annotated[str, typer.Option(help="Device: auto, cpu, cuda, cuda:1, mps …")]
Truncate = Annotated[bool, typer.Option("--truncate", help="Truncate the text to the model's maximum length.")]
Errors = Annotated[
    Literal["raise", "skip"],
    typer.Option(help="A text that cannot be used: raise an error, or skip it and say which on standard error."),
]
Layer = Annotated[int | None, typer.Option("--layer", "-l", help="Layer, counted from zero.")]
Head = Annotated[int | None, typer.Option("--head", "-H", help="Head, counted from zero.")]
Stack = Annotated[str | None, typer.Option(help="Stack (encoder, decoder …); default: the stack that reads the text.")]
Kind = Annotated[Literal["self", "cross"] | None, typer.Option(help="Attention type: self or cross.")]
FigureFile = Annotated[Path | None, typer.Option(help="Also save a figure (.png, .svg, .pdf).")]
Images = Annotated[
    list[Path] | None,
    typer.Option("--image", "-i", help="An image; the text goes with it. May be given several times."),
]
Audio = Annotated[Path | None, typer.Option("--audio", "-a", help="A sound; the text is its target, if there is one.")]
Video = Annotated[Path | None, typer.Option("--video", help="A film: GIF, WebP or PNG, or any other with PyAV.")]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Output file; the extension sets the format (.csv, .parquet, .json)."),
]


def read_text(argument: str, encoding: str | None = None) -> str:
    """The text meant by ``TEXT|FILE|-``: what was typed, or a file (also with .gz) without its byte-order mark.

    Args:
        encoding: of the file; by default UTF-8, or UTF-16 where it shows that.

    Raises:
        InputError: the file is of another encoding, damaged or very large, or it looks like one but is not there.
    """
    from attention_analyzer.errors import FileFormatError, InputError
    from attention_analyzer.text.decoding import decode

    if argument == "-":
        raw = getattr(sys.stdin, "buffer", None)  # a notebook or an embedding program may give text alone
        return sys.stdin.read() if raw is None else decode(raw.read(), "The standard input", encoding)
    path = Path(argument)
    try:
        if len(argument) < 1024 and path.is_file():
            if path.suffix.lower() in _RECORDS:
                raise InputError(f"{argument} is a record, not a text; attn show, scan and figure take records.")
            from attention_analyzer.text.readers.opened import bytes_of

            return decode(bytes_of(path), argument, encoding)
    except FileFormatError as error:
        raise InputError(f"{argument} cannot be read: {error}.") from None
    except OSError as error:
        raise InputError(f"{argument} cannot be read: {error.strerror or error}.") from None
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        return argument  # a zero byte, which no file name has
    if path.suffix in _FILES and " " not in argument:
        raise InputError(f"There is no file {argument}; to analyze the name as text, add a space after it.")
    return argument


def read_text_or_chat(argument: str, encoding: str | None = None) -> str | Messages:
    """The text meant, or the messages of a chat where a JSON file holds them (or an object with ``messages``)."""
    import json

    from attention_analyzer.text.chat import is_messages

    text = read_text(argument, encoding)
    if not argument.lower().endswith(".json") or text == argument:
        return text
    try:
        found = json.loads(text)
    except ValueError:
        return text
    chat = found.get("messages") if isinstance(found, dict) else found
    return chat if is_messages(chat) else text


def record_file(argument: str, model: str | None, truncate: bool, encoding: str | None) -> AttentionRecord | None:
    """The record in a file, where the argument names one (.attn, .safetensors); None if it does not.

    Raises:
        InputError: an option was given that only makes sense where a model is run on a text.
        FileFormatError: the file is no record.
    """
    from attention_analyzer.errors import InputError

    path = Path(argument)
    if path.suffix.lower() not in _RECORDS or not path.is_file():
        return None
    given = {"--model": model, "--truncate": truncate, "--encoding": encoding}
    if idle := [name for name, value in given.items() if value]:
        raise InputError(f"{path} is a saved record, so no model runs; leave out {', '.join(idle)}.")
    from attention_analyzer.record import AttentionRecord

    return AttentionRecord.load(path)


def media_of(images: Sequence[Path] | None, audio: Path | None, video: Path | None = None) -> dict[str, Any]:
    """The images, the sound or the film that were given, as arguments of the analyzer's methods."""
    given: dict[str, Any] = {"images": list(images)} if images else {}
    return given | {name: path for name, path in (("audio", audio), ("video", video)) if path is not None}


def record_of(
    argument: str | None,
    model: str | None,
    device: str,
    truncate: bool,
    encoding: str | None,
    *,
    images: Sequence[Path] = (),
    audio: Path | None = None,
    video: Path | None = None,
) -> AttentionRecord:
    """The record of a text, of images or of a sound by a model, or the one that was read from a file.

    Raises:
        InputError: there is nothing to analyze.
    """
    from attention_analyzer.errors import InputError

    if given := media_of(images, audio, video):
        beside = None if argument is None else read_text(argument, encoding)
        return analyzer_for(model, device).record(beside, **given, truncate=truncate)
    if argument is None:
        raise InputError("There is nothing to analyze; give a text, a file, --image, --audio or --video.")
    read = record_file(argument, model, truncate, encoding)
    return read or analyzer_for(model, device).record(read_text_or_chat(argument, encoding), truncate=truncate)


def analyzer_for(model: str | None, device: str = "auto") -> AttentionAnalyzer:
    """The analyzer of the model that was named, or of the default; a fallback is said on standard error."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        with working("Loading the model"):
            from attention_analyzer.analyzer import AttentionAnalyzer

            analyzer = AttentionAnalyzer(model, device=device)
    for warning in caught:
        if "offline encoder" in str(warning.message):
            complain(warning.message)
    return analyzer


def choice(*values: str, **old: str) -> Callable[[str], str]:
    """The parser of an option with some values, and old names of them: ``piece="token"``."""
    known = {value: value for value in values} | old

    def parse(value: str) -> str:
        if value not in known:
            raise typer.BadParameter(f"{value!r} is not one of {', '.join(map(repr, values))}.")
        return known[value]

    return parse


class Command(TyperCommand):
    """A command that words errors with its own options, and in which ``-h 5`` still means ``--head 5``."""

    def invoke(self, ctx: Any) -> Any:
        from attention_analyzer.errors import AttentionAnalyzerError, InputError

        try:
            return super().invoke(ctx)
        except AttentionAnalyzerError as error:
            complain(error.worded(self._worded))
            raise typer.Exit(2 if isinstance(error, InputError) else 1) from None

    def _worded(self, option: Option) -> str | None:
        """An argument of the library as this command spells it; None if the command does not have it."""
        for parameter in self.params:
            if parameter.name == option.name and (parameter.opts or [""])[0].startswith("-"):
                off = option.value == "False" and parameter.secondary_opts
                name = (parameter.secondary_opts if off else parameter.opts)[0]
                value = "" if option.value in ("True", "False") else f" {option.value.strip(chr(39))}"
                return option.phrase.format(f"{name}{value}".replace(" …", ""))
        return None

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if any("--head" in parameter.opts for parameter in self.params):
            followed = [*args[1:], ""]
            args = ["-H" if one == "-h" and after.isdigit() else one for one, after in zip(args, followed, strict=True)]
        return super().parse_args(ctx, args)
