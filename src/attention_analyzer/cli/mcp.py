"""``attn mcp``: the toolkit as tools for agents."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def mcp(
    folder: Annotated[
        Path | None, typer.Argument(metavar="[FOLDER]", help="The only folder that files may be read from.")
    ] = None,
    *,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model", "-m", help="Models to offer, the default first; repeatable. All local ones if left out."
        ),
    ] = None,
) -> None:
    """Serve analyses to agents.

    Speaks the Model Context Protocol over standard input and output. Models run on this machine, nothing is downloaded,
    and no file outside FOLDER is read.
    """
    import os
    from importlib.util import find_spec

    from attention_analyzer.errors import MissingDependencyError

    if find_spec("mcp") is None:
        raise MissingDependencyError("mcp", "agents", "The server for agents")
    os.environ["HF_HUB_OFFLINE"] = "1"
    from attention_analyzer.agents.serving import mcp_server
    from attention_analyzer.models import available

    mcp_server(model or [each.name for each in available()], folder).run("stdio")
