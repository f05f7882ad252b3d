"""``attn cache``: records kept on disk."""

from __future__ import annotations

from typing import Annotated

import typer

from attention_analyzer.cli.console import say


def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Delete all cached records and tables.")] = False,
) -> None:
    """Show or clear the record cache.

    Where records are stored and how much space they take.
    """
    from attention_analyzer.cache_folder import CacheFolder, default_folder

    kept = CacheFolder(default_folder())
    if clear:
        say(f"{kept.clear()} files deleted from {kept.folder}")
    else:
        say(f"{kept.folder}: {kept.size() / 1e6:.1f} MB of at most {kept.limit / 1e6:.0f} MB")
