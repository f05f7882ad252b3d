"""The command line that the training scripts share."""

from __future__ import annotations

import argparse
import os
from pathlib import Path


def parse_arguments(description: str, *, needs_data: bool, by_clock: bool) -> argparse.Namespace:
    """`--scratch` for work in progress; `--data` and `--minutes` where the script has a use for them."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    _add_folder(parser, "--scratch", "DEMO_MODELS_SCRATCH", "work in progress, to resume from")
    if needs_data:
        _add_folder(
            parser,
            "--data",
            "DEMO_MODELS_DATA",
            "folder with novels.tar.xz and tinystories_1000.json",
        )
    if by_clock:
        parser.add_argument(
            "--minutes",
            type=float,
            default=None,
            help="train at most this long in all; the learning rate then falls by the clock (default: all steps)",
        )
    return parser.parse_args()


def _add_folder(parser: argparse.ArgumentParser, flag: str, variable: str, meaning: str) -> None:
    default = os.environ.get(variable)
    parser.add_argument(
        flag,
        type=Path,
        default=Path(default) if default else None,
        required=default is None,
        help=f"{meaning} (default: ${variable})",
    )
