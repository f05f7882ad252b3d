"""The command line that the training scripts share."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from demo_models.corpus import SOURCES


def parse_arguments(description: str, *, needs_data: bool, by_clock: bool) -> argparse.Namespace:
    """`--scratch` for work in progress; `--data` and `--minutes` where the script has a use for them."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    _add_folder(parser, "--scratch", "DEMO_MODELS_SCRATCH", "work in progress, to resume from")
    if needs_data:
        _add_folder(
            parser,
            "--data",
            "DEMO_MODELS_DATA",
            f"folder with {' and '.join(SOURCES)}",
        )
    if by_clock:
        parser.add_argument(
            "--minutes",
            type=float,
            default=None,
            help="train at most this long in all; the learning rate then falls by the clock (default: all steps)",
        )
    arguments = parser.parse_args()
    if needs_data:
        missing = [name for name in SOURCES if not (arguments.data / name).is_file()]
        if missing:
            parser.error(f"--data must be a folder with {' and '.join(SOURCES)}; {arguments.data} lacks {missing}")
    return arguments


def _add_folder(parser: argparse.ArgumentParser, flag: str, variable: str, meaning: str) -> None:
    default = os.environ.get(variable)
    parser.add_argument(
        flag,
        type=Path,
        default=Path(default) if default else None,
        required=default is None,
        help=f"{meaning} (default: ${variable})",
    )
