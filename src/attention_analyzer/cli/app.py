"""``attn app``: the dashboard in a browser."""

from __future__ import annotations

from typing import Annotated

import typer


def app(
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8501,
    address: Annotated[str, typer.Option(help="Address to listen on; only this machine by default.")] = "localhost",
    models: Annotated[
        str, typer.Option(help="Names with commas: the only models offered. For a dashboard that others use.")
    ] = "",
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open a browser.")] = True,
) -> None:
    """Start the dashboard."""
    import os
    import subprocess
    import sys
    from importlib.util import find_spec

    from attention_analyzer.errors import MissingDependencyError

    if find_spec("streamlit") is None:
        raise MissingDependencyError("streamlit", "app", "The dashboard")
    from attention_analyzer import dashboard

    environment = os.environ | ({"ATTENTION_ANALYZER_MODELS": models} if models else {})
    options = {
        "server.address": address,
        "server.port": str(port),
        "server.headless": str(not browser).lower(),
        "server.maxUploadSize": environment.get("ATTENTION_ANALYZER_LARGEST_UPLOAD", "50"),
        "server.fileWatcherType": "none",
        "global.maxCachedMessageAge": "30",
        "runner.magicEnabled": "false",
        "browser.gatherUsageStats": "false",
        "client.showErrorDetails": "none",
        "client.toolbarMode": "minimal",
    }
    command = [sys.executable, "-m", "attention_analyzer.dashboard.serve", "run", f"{dashboard.__path__[0]}/start.py"]
    command += [f"--{name}={value}" for name, value in options.items()]
    raise typer.Exit(subprocess.run(command, env=environment, check=False).returncode)
