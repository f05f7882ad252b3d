"""The compiled row pass: the library that came with the wheel, or one that the user's compiler builds at first use.

A few hundred lines of C++ with no dependency but a compiler take about a second to build, for exactly this processor.
Without either, plain PyTorch does the work. What decided for this over Inductor and numba: both compile for seconds in
every new process or shape, numba would be a large dependency, and neither fuses a matrix product with what follows it
on a CPU.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import platformdirs
import torch

from attention_analyzer.files import checksum, not_only_mine, private_folder
from attention_analyzer.weights.cpu.variants import FLAGS, prebuilt

#: Set to "off" to do without the compiled pass, or to a folder to keep it there.
VARIABLE = "ATTENTION_ANALYZER_KERNEL"
SOURCE = Path(__file__).with_name("row_pass.cpp")
_COMPILERS = ("g++", "clang++", "c++")
_PATIENCE = 120

_POINTER, _COUNT = ctypes.c_void_p, ctypes.c_int64


class Pass(ctypes.Structure):
    """``struct Pass`` of row_pass.cpp, field for field; what each field means is said there."""

    _fields_ = [
        ("query", _POINTER), ("query_batch", _COUNT), ("query_head", _COUNT), ("query_row", _COUNT),
        ("key", _POINTER),
        ("bias", _POINTER), ("bias_batch", _COUNT), ("bias_head", _COUNT), ("bias_row", _COUNT),
        ("sinks", _POINTER), ("sinks_batch", _COUNT), ("sinks_head", _COUNT), ("sinks_row", _COUNT),
        ("mask", _POINTER), ("mask_batch", _COUNT), ("mask_head", _COUNT), ("mask_row", _COUNT),
        ("key_seen", _POINTER), ("query_segment", _POINTER), ("key_segment", _POINTER),
        ("first_key", _POINTER), ("last_key", _POINTER), ("valid", _POINTER),
        ("batch", _COUNT), ("heads", _COUNT), ("key_heads", _COUNT), ("queries", _COUNT), ("keys", _COUNT),
        ("channels", _COUNT), ("lower", _COUNT), ("upper", _COUNT), ("diagonal", _COUNT),
        ("scaling", ctypes.c_double), ("softcap", ctypes.c_double),
        ("entropy", _POINTER), ("largest", _POINTER), ("smallest", _POINTER), ("total", _POINTER),
        ("strongest", _POINTER), ("distance", _POINTER), ("apart", _POINTER),
        ("offsets", _POINTER), ("offset_weights", _POINTER), ("windows", _POINTER), ("window_weights", _POINTER),
        ("groups", _POINTER), ("groups_batch", _COUNT), ("group_weights", _POINTER),
        ("match_queries", _POINTER), ("match_keys", _POINTER), ("match_starts", _POINTER), ("match_labels", _COUNT),
        ("match_among", _POINTER), ("match_weights", _POINTER),
        ("offset_count", _COUNT), ("window_count", _COUNT), ("group_count", _COUNT), ("match_count", _COUNT),
        ("received", _POINTER), ("chunks", _COUNT), ("chunk_rows", _COUNT), ("row_block", _COUNT),
        ("scratch", _POINTER), ("scratch_size", _COUNT), ("threads", _COUNT),
        ("query_runs", _POINTER), ("key_runs", _POINTER), ("query_run_count", _COUNT), ("key_run_count", _COUNT),
        ("left_out", _POINTER), ("run_sums", _POINTER), ("run_sums_without", _POINTER),
        ("offset_sums", _POINTER), ("offset_sums_without", _POINTER),
        ("offset_size", _COUNT), ("offset_origin", _COUNT), ("parallel", _POINTER),
    ]  # fmt: skip


@dataclass(frozen=True)
class RowPass:
    """The compiled pass, or the reason why there is none.

    Attributes:
        library: the loaded library; None where there is none.
        reason: one sentence: what is used, or why it is not.
    """

    library: ctypes.CDLL | None
    reason: str


@cache
def row_pass() -> RowPass:
    """Load the pass, building it if this machine has not yet."""
    chosen = os.environ.get(VARIABLE, "")
    if chosen.lower() in {"off", "0", "no"}:
        return RowPass(None, f"The compiled pass is turned off by {VARIABLE}.")
    if not chosen and (shipped := prebuilt(torch.backends.cpu.get_cpu_capability())):
        try:
            return RowPass(load_library(shipped), f"The prebuilt pass is used ({shipped}).")
        except OSError:
            pass  # of another system, or damaged: one that is built here may still work
    compiler = next((found for name in _COMPILERS if (found := shutil.which(name))), None)
    if compiler is None:
        return RowPass(None, f"No C++ compiler ({', '.join(_COMPILERS)}) is on the path; plain PyTorch is used.")
    folder = Path(chosen) if chosen else Path(platformdirs.user_cache_dir("attention-analyzer")) / "kernels"
    try:
        if (problem := private_folder(folder)) is not None:
            return RowPass(None, f"{problem} Until then plain PyTorch is used instead of the compiled pass.")
        path = _built(compiler, folder)
        library = load_library(path)
    except (OSError, subprocess.SubprocessError) as error:
        detail = getattr(error, "stderr", None) or str(error)
        return RowPass(None, f"The compiled pass could not be built by {compiler}: {str(detail).strip()[-300:]}")
    return RowPass(library, f"The compiled pass is used ({path}).")


def load_library(path: Path) -> ctypes.CDLL:
    """The library in a file.

    Raises:
        OSError: it cannot be loaded, or has another layout than this version expects.
    """
    library = ctypes.CDLL(str(path))
    try:
        library.size_of_pass.restype = _COUNT
        if library.size_of_pass() != ctypes.sizeof(Pass):
            raise OSError(f"{path} has another layout than this version expects; delete it.")
        library.row_pass.argtypes = [ctypes.POINTER(Pass)]
        library.row_pass.restype = None
    except AttributeError as error:
        raise OSError(f"{path} is not the library of this package: {error}.") from None
    return library


def _built(compiler: str, folder: Path) -> Path:
    """The library for this source, compiler and processor; several processes may build it at once."""
    native = "-mcpu=native" if platform.machine() in {"arm64", "aarch64"} else "-march=native"
    command = [compiler, *FLAGS, native]
    asked = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True, timeout=_PATIENCE)
    key = hashlib.sha256()
    for part in (SOURCE.read_text(encoding="utf-8"), " ".join(command), asked.stdout, _processor()):
        key.update(part.encode() + b"\0")
    name = f"row_pass-{key.hexdigest()[:16]}"
    if (kept := _kept(folder, name)) is not None:
        return kept
    with tempfile.TemporaryDirectory(dir=folder) as unfinished:
        made = Path(unfinished) / "made.so"
        subprocess.run(
            [*command, "-o", str(made), str(SOURCE)], capture_output=True, text=True, check=True, timeout=_PATIENCE
        )
        made.chmod(0o700)
        path = folder / _name(name, made)
        made.replace(path)
    return path


def _kept(folder: Path, name: str) -> Path | None:
    """The library that was built before. One that was cut, altered or put there by somebody else is removed."""
    for path in sorted(folder.glob(f"{name}-*.so")):
        if not_only_mine(path) is None and path.name == _name(name, path):
            return path
        path.unlink(missing_ok=True)
    return None


def _name(name: str, library: Path) -> str:
    """With the checksum of what is in the file: to load a library that was cut off ends the process."""
    return f"{name}-{checksum(library)[:16]}.so"


def _processor() -> str:
    """What ``native`` means here; a home folder may be shared by machines with different processors."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith(("flags", "Features")):
                return line
    except OSError:
        pass
    return f"{platform.machine()} {platform.processor()}"


@cache
def openmp_parallel() -> int | None:
    """The address of ``GOMP_parallel`` in the OpenMP that torch runs on; None where that has another form.

    Threads of a second pool would compete with torch's, which spin for a while after the model's own work.
    """
    try:
        mapped = Path("/proc/self/maps").read_text(encoding="utf-8")
    except OSError:
        return None
    paths = {line.split()[-1] for line in mapped.splitlines() if "libgomp" in line}
    ours = [path for path in sorted(paths) if "/torch/" in path] or sorted(paths)
    if not ours:
        return None
    return ctypes.cast(ctypes.CDLL(ours[0]).GOMP_parallel, ctypes.c_void_p).value
