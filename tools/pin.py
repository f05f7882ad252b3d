"""Write constraints.txt: one exact version of every package that the project and its extras pull in.

The versions come from pip's own resolver, which is asked what it would install into an empty environment. Two things
are left out on purpose: local version labels (``+cpu``), so that a pin names the release and not one build of it, and
the packages of GPU vendors, which torch's own metadata pins where they are needed.

    python tools/pin.py            resolve again within the existing pins, adding what is missing
    python tools/pin.py --upgrade  forget the pins except those of torch and transformers
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "constraints.txt"
#: The two libraries whose internals matter to us; they move only by hand, with the whole test suite.
BY_HAND = ("torch", "transformers")
VENDOR = re.compile(r"^(nvidia-|cuda-|triton$|pytorch-triton)")
HEADER = """\
# Exact versions of everything the project and its extras install, for reproducible set-ups:
#
#     pip install -c constraints.txt -e '.[all,test,docs,release,mutation]'
#
# Written by tools/pin.py (make pin). The ranges that the library itself accepts stand in pyproject.toml.
"""


def resolve(constraints: list[str]) -> dict[str, str]:
    """Versions by package name, as pip would install them now."""
    with tempfile.TemporaryDirectory() as folder:
        pins, report = Path(folder, "pins.txt"), Path(folder, "report.json")
        pins.write_text("\n".join(constraints) + "\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
        command += ["--report", str(report), "-c", str(pins), f"{ROOT}[all,test,docs,release,mutation]"]
        subprocess.run(command, check=True)
        installed = json.loads(report.read_text(encoding="utf-8"))["install"]
    found = {re.sub(r"[-_.]+", "-", i["metadata"]["name"]).lower(): i["metadata"]["version"] for i in installed}
    return {
        name: version.split("+")[0]
        for name, version in found.items()
        if name != "attention-analyzer" and not VENDOR.match(name)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--upgrade", action="store_true", help="forget the pins of all but torch and transformers")
    upgrade = parser.parse_args().upgrade
    pins = [line for line in CONSTRAINTS.read_text(encoding="utf-8").splitlines() if "==" in line]
    if upgrade:
        pins = [line for line in pins if line.split("==")[0] in BY_HAND]
    versions = resolve(pins)
    lines = [f"{name}=={version}" for name, version in sorted(versions.items())]
    CONSTRAINTS.write_text(HEADER + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
