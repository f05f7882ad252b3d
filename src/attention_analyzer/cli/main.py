"""The ``attn`` command itself: its table of commands, and how errors end it.

Command modules import nothing heavy at their top, so that help answers at once.
"""

from __future__ import annotations

import io
import os
import sys
import warnings
from importlib import import_module
from typing import Any

import typer

from attention_analyzer.cli.console import complain, safe, say, show_warning
from attention_analyzer.cli.options import Command

#: What there is: name, module of this room, function.
COMMANDS = (
    ("demo", "demo", "demo"),
    ("app", "app", "app"),
    ("show", "show", "show"),
    ("scan", "scan", "scan"),
    ("figure", "figure", "figure"),
    ("tokens", "tokens", "tokens"),
    ("patterns", "patterns", "patterns"),
    ("programs", "programs", "programs"),
    ("atlas", "atlas", "atlas"),
    ("heads", "heads", "heads"),
    ("parts", "parts", "parts"),
    ("sources", "sources", "sources"),
    ("what-if", "what_if", "what_if"),
    ("effects", "effects", "effects"),
    ("why", "why", "why"),
    ("writes", "writes", "writes"),
    ("compositions", "compositions", "compositions"),
    ("contrast", "contrast", "contrast"),
    ("patch", "patch", "patch"),
    ("circuit", "circuit", "circuit"),
    ("generate", "generate", "generate"),
    ("relations", "relations", "relations"),
    ("corpus", "corpus", "corpus"),
    ("compare", "compare", "compare"),
    ("track", "track", "track"),
    ("cache-advice", "cache_advice", "cache_advice"),
    ("doctor", "doctor", "doctor"),
    ("models", "models", "models"),
    ("cache", "cache", "cache"),
    ("mcp", "mcp", "mcp"),
)

app = typer.Typer(
    name="attn",
    help="Analyze what the attention heads of a transformer do.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _name, _module, _function in COMMANDS:
    _member = getattr(import_module(f"attention_analyzer.cli.{_module}"), _function)
    if isinstance(_member, typer.Typer):
        for _each in _member.registered_commands:
            _each.cls = Command
        app.add_typer(_member, name=_name)
    else:
        app.command(_name, cls=Command)(_member)


def _version(shown: bool) -> None:
    if shown:
        from attention_analyzer import __version__

        say(f"attn {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Analyze what the attention heads of a transformer do."""


#: Base of what Typer raises for a command line that it cannot read.
_USAGE_ERROR: Any = typer.BadParameter.__mro__[2]


def main() -> None:
    """Run ``attn``. Exit codes: 0 done, 1 it could not be done, 2 wrong input, 130 interrupted."""
    from attention_analyzer.errors import AttentionAnalyzerError, InputError

    # Warnings of libraries about themselves are not for a person at a terminal.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.showwarning = show_warning
    try:
        code = app(prog_name="attn", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except AttentionAnalyzerError as error:
        complain(error)
        sys.exit(2 if isinstance(error, InputError) else 1)
    except _USAGE_ERROR as error:
        shown = io.StringIO()
        error.show(file=shown)
        sys.stderr.write(f"{safe(shown.getvalue().rstrip())}\n")
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        complain("interrupted")
        sys.exit(130)
    except BrokenPipeError:
        # The reader (head, less) left; there is nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


if __name__ == "__main__":
    main()
