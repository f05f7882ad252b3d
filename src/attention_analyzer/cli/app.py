"""``attn app``: the dashboard in a browser."""

from __future__ import annotations

from typing import Annotated

import typer


def app(
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8501,
    address: Annotated[str, typer.Option(help="Address to listen on (default: this machine only).")] = "localhost",
    models: Annotated[str, typer.Option(help="Comma-separated list of allowed models, for a shared dashboard.")] = "",
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
    from attention_analyzer.dashboard import launch

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
        "theme.light.primaryColor": "#1f5fa8",
        "theme.light.linkColor": "#1f5fa8",
        "theme.dark.primaryColor": "#6aa9e9",
        "theme.dark.linkColor": "#8cbdf0",
    }
    command = [sys.executable, "-m", "attention_analyzer.dashboard.serve", "run", f"{launch.__path__[0]}/start.py"]
    command += [f"--{name}={value}" for name, value in options.items()]
    raise typer.Exit(subprocess.run(command, env=environment, check=False).returncode)
