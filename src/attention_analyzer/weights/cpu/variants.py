"""The compiled pass as a wheel carries it: one library per instruction set, of which the best that fits is loaded.

``setup.py`` builds the table's libraries with this module, so it imports only the standard library.
"""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).with_name("prebuilt")
SUFFIX = {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so")
#: Windows has neither position-independent code nor POSIX threads to ask for.
_POSIX = () if sys.platform == "win32" else ("-fPIC", "-pthread")
FLAGS = ("-std=c++17", "-O3", "-fno-math-errno", "-fno-trapping-math", "-Wno-psabi", "-shared", *_POSIX)


@dataclass(frozen=True)
class Variant:
    """One instruction set.

    Attributes:
        name: in the library's file name.
        flags: for the compiler.
        capabilities: what torch may call a processor that can run it.
    """

    name: str
    flags: tuple[str, ...]
    capabilities: frozenset[str]

    @property
    def path(self) -> Path:
        return FOLDER / f"row_pass-{self.name}{SUFFIX}"


#: By machine, the fastest first. The last one runs on every processor of its kind.
VARIANTS: dict[str, tuple[Variant, ...]] = {
    "x86_64": (
        Variant("avx512", ("-march=x86-64-v4", "-mprefer-vector-width=512"), frozenset({"AVX512"})),
        Variant("avx2", ("-march=x86-64-v3",), frozenset({"AVX512", "AVX2"})),
        Variant("baseline", ("-march=x86-64",), frozenset({"AVX512", "AVX2", "DEFAULT"})),
    ),
    "arm64": (Variant("neon", ("-march=armv8-a",), frozenset({"DEFAULT", "NEON", "SVE128", "SVE256"})),),
}


def variants() -> tuple[Variant, ...]:
    """Those of this machine; none for a machine that is not in the table."""
    machine = {"amd64": "x86_64", "aarch64": "arm64"}.get(platform.machine().lower(), platform.machine().lower())
    return VARIANTS.get(machine, ())


def prebuilt(capability: str) -> Path | None:
    """The best library that came with the package for a processor; None if there is none.

    Args:
        capability: as ``torch.backends.cpu.get_cpu_capability()`` says it.
    """
    fitting = (variant.path for variant in variants() if capability in variant.capabilities)
    return next((path for path in fitting if path.is_file()), None)
