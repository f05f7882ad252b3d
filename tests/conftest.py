"""What every test shares: no model hub, no window system, no trace in the user's own cache."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator

import pytest

# Set before anything reads it; child processes (the `attn` command, servers) inherit it. The folder is this process's
# own, so tests that run side by side share no cache.
_home = tempfile.mkdtemp(prefix="attention-analyzer-tests-")
atexit.register(shutil.rmtree, _home, ignore_errors=True)
# Triton reads it when it is first imported: kernels run in its interpreter, on the CPU. 0 runs them on a GPU.
os.environ.setdefault("TRITON_INTERPRET", "1")
os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "MPLBACKEND": "Agg",
    "XDG_CACHE_HOME": _home,
    "STREAMLIT_BROWSER_GATHER_USAGE_STATS": "false",
}

pytest_plugins = ["tests.one_browser"]

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def _grad_mode_is_left_alone() -> Iterator[None]:
    """A test that leaves torch's gradients switched off fails itself, and not those after it."""
    yield
    torch = sys.modules.get("torch")
    if torch is not None and not torch.is_grad_enabled():
        torch.set_grad_enabled(True)
        pytest.fail("torch's gradients were left switched off")


@pytest.fixture
def attn(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs the command in this process: exit code, standard output, standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        from attention_analyzer.cli import main

        monkeypatch.setattr(sys, "argv", ["attn", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main.main()
        return (int(ended.value.code or 0), *capsys.readouterr())

    return run
