"""Adds the compiled pass to wheels; everything else about the package stands in pyproject.toml.

One library per instruction set is built with whatever C++ compiler there is (``CXX``, g++ or clang++). Without one the
wheel is pure Python, and the pass is compiled at first use where that is possible. No library links to Python, so one
wheel per platform serves every version of it.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

CPU = Path("src/attention_analyzer/weights/cpu")


def _variants():
    spec = importlib.util.spec_from_file_location("variants", CPU / "variants.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["variants"] = module
    spec.loader.exec_module(module)
    return module


def _compiler() -> str | None:
    if os.environ.get("ATTENTION_ANALYZER_PURE"):
        return None
    return next((name for name in (os.environ.get("CXX"), "g++", "clang++") if name and shutil.which(name)), None)


class BuildWithLibraries(build_py):
    """Copies the package and puts the libraries beside it."""

    def run(self) -> None:
        super().run()
        compiler = None if self.editable_mode else _compiler()
        if compiler is None:
            return
        table = _variants()
        folder = Path(self.build_lib) / "attention_analyzer" / "weights" / "cpu" / table.FOLDER.name
        folder.mkdir(parents=True, exist_ok=True)
        for variant in table.variants():
            made = folder / variant.path.name
            command = [compiler, *table.FLAGS, *variant.flags, "-o", str(made), str(CPU / "row_pass.cpp")]
            self.announce(" ".join(command))
            subprocess.run(command, check=True)


class PlatformWheel(bdist_wheel):
    """Tagged for the platform if it holds libraries, and for every Python 3."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.root_is_pure = _compiler() is None or not _variants().variants()

    def get_tag(self) -> tuple[str, str, str]:
        python, abi, platform = super().get_tag()
        return (python, abi, platform) if self.root_is_pure else ("py3", "none", platform)


class WithLibraries(Distribution):
    """A distribution that is installed where platform-dependent packages belong."""

    def has_ext_modules(self) -> bool:
        return _compiler() is not None and bool(_variants().variants())


setup(distclass=WithLibraries, cmdclass={"build_py": BuildWithLibraries, "bdist_wheel": PlatformWheel})
