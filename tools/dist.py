"""Build sdist and wheel, and try the wheel as a user would: ``python tools/dist.py``.

Each set of extras gets a new environment outside the checkout, so that only what the wheel holds is used. Without
extras, every feature that needs one must say in a sentence which extra to install.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
TEXT = "The quick brown fox jumps over the lazy dog"
#: What a wheel must hold beside the modules.
NEEDED = (
    "attention_analyzer/py.typed",
    "attention_analyzer/models/bundled/demo-encoder/model.safetensors",
    "attention_analyzer/view/static/viewer.js",
    "attention_analyzer/weights/cpu/row_pass.cpp",
)
#: A wheel for a platform brings the compiled pass.
PREBUILT = (
    "from attention_analyzer.weights.cpu.compiled import row_pass as p; assert 'prebuilt' in p().reason, p().reason"
)
#: Run with the wheel alone; each line must end in a MissingDependencyError that names the extra.
WITHOUT_EXTRAS = """
from attention_analyzer import AttentionAnalyzer, errors

analyzer = AttentionAnalyzer("demo-encoder", cache=False)
texts = ["The cat sat.", "A dog ran home.", "Birds sing in the morning."]
record = analyzer.record(texts[0])
assert len(record.heads()) == sum(site.heads for site in record.sites)
record.to_html("page.html")
for extra, call in {
    "notebook": lambda: record.view(),
    "cluster": lambda: analyzer.similarity(texts),
    "graphs": lambda: analyzer.token_importance(texts[0], "flow"),
    "attribution": lambda: analyzer.token_importance(texts[0], "integrated_gradients"),
}.items():
    try:
        call()
    except errors.MissingDependencyError as error:
        assert error.extra == extra and f"[{extra}]" in str(error), (extra, str(error))
    else:
        raise SystemExit(f"{extra}: nothing was missing")
"""


def run(*command: str | Path, folder: Path = ROOT) -> None:
    print("$", *command, flush=True)
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    subprocess.run([str(part) for part in command], check=True, cwd=folder, env=clean | {"HF_HUB_OFFLINE": "1"})


def build() -> Path:
    """The wheel, after a look at what it and the sdist hold."""
    shutil.rmtree(DIST, ignore_errors=True)
    run(sys.executable, "-m", "build", "--outdir", DIST)
    (wheel,), (sdist,) = DIST.glob("*.whl"), DIST.glob("*.tar.gz")
    held = set(zipfile.ZipFile(wheel).namelist())
    missing = [name for name in NEEDED if name not in held]
    strangers = [name for name in held if not name.startswith(("attention_analyzer/", "attention_analyzer-"))]
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    missing += [name for name in ("pyproject.toml", "README.md", "LICENSE") if name not in names]
    if missing or strangers:
        raise SystemExit(f"Missing: {missing}; not ours: {strangers}")
    return wheel


def try_wheel(wheel: Path, extras: str, folder: Path) -> None:
    run(sys.executable, "-m", "venv", folder / "venv")
    binaries = folder / "venv" / "bin"
    requirement = f"{wheel}[{extras}]" if extras else str(wheel)
    run(binaries / "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", requirement)
    run(binaries / "attn", "scan", TEXT, "-m", "demo-encoder", folder=folder)
    if not wheel.name.endswith("none-any.whl"):
        run(binaries / "python", "-c", PREBUILT, folder=folder)
    run(binaries / "attn", "show", TEXT, "-m", "demo-decoder", "-o", folder / "page.html", folder=folder)
    if extras:
        run(binaries / "attn", "doctor", "demo-encoder", folder=folder)
    else:
        run(binaries / "python", "-c", WITHOUT_EXTRAS, folder=folder)


def main() -> None:
    wheel = build()
    for extras in ("", "all"):
        with tempfile.TemporaryDirectory() as folder:
            try_wheel(wheel, extras, Path(folder))
    print(f"{wheel.name} works, with and without extras.")


if __name__ == "__main__":
    main()
