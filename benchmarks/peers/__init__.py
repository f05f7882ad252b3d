"""Other tools, each in an environment of its own that lies on top of this one, so that all run the same torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
_PATIENCE = 900


@dataclass(frozen=True)
class Peer:
    """Another tool.

    Attributes:
        installs: what pip is called with, one call each.
        script: the script in this folder that runs it.
        longest: the longest text it is given; longer ones take minutes or more memory than machines have.
        note: what a reader should know about the comparison.
    """

    name: str
    installs: tuple[tuple[str, ...], ...]
    script: str
    longest: int
    note: str


PEERS = (
    Peer(
        "TransformerLens", (("transformer-lens==4.3.0",),), "transformer_lens_run.py", 4096,
        "all patterns into its cache; no statistics",
    ),
    Peer("BertViz", (("bertviz==1.4.1",),), "bertviz_run.py", 512, "eager matrices and the head view as HTML"),
    Peer(
        "AttnRead", (("nnsight==0.7.0",), ("--no-deps", "attnread==0.1.2")), "attnread_run.py", 512,
        "all patterns under sdpa; no statistics; run on this torch and transformers, not the ones it pins",
    ),
)  # fmt: skip


@dataclass(frozen=True)
class PeerEnvironment:
    """A peer's interpreter, or why it cannot be had."""

    python: Path | None
    reason: str = ""


def environment(peer: Peer, folder: Path) -> PeerEnvironment:
    """Make the peer's environment, unless it is there."""
    home = folder / peer.name.lower()
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    done = home / "installed"
    if done.exists():
        return PeerEnvironment(python)
    venv.create(home, with_pip=True, clear=True)
    paths = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    )
    Path(paths.stdout.strip(), "shared.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    for arguments in peer.installs:
        command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments]
        try:
            subprocess.run(command, capture_output=True, text=True, check=True, timeout=_PATIENCE)
        except subprocess.TimeoutExpired:
            return PeerEnvironment(None, f"not installed within {_PATIENCE} s")
        except subprocess.CalledProcessError as error:
            lines = [line for line in error.stderr.splitlines() if line.startswith("ERROR")] or ["pip failed"]
            return PeerEnvironment(None, lines[-1].removeprefix("ERROR: "))
    done.touch()
    return PeerEnvironment(python)


def measure(peer: Peer, python: Path, folder: Path, tokens: int) -> dict[str, float] | str:
    """A peer's time, memory and file, or why there are none."""
    command = [str(python), str(HERE / peer.script), str(folder), str(tokens), "1" if tokens > 256 else "2"]
    settings = os.environ | {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_PATIENCE, env=settings)
    except subprocess.TimeoutExpired:
        return f"more than {_PATIENCE} s"
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip().splitlines() or ["no message"])[-1]
        return "killed: out of memory" if error.returncode < 0 else last[:160]
    return json.loads(done.stdout.strip().splitlines()[-1])


if sys.platform == "win32":
    raise SystemExit("the benchmark reads /proc and runs on Linux")
