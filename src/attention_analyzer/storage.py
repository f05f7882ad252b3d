"""Records as files: safetensors with a JSON header, no pickle, linear in the text.

Layout, version 2: the metadata entry ``attention_analyzer`` is JSON with the format's version, a checksum over the
whole file (:mod:`.files`), the record's own attributes, the token axes (each once), the sites and the media. Tensors
are named ``{site}.{part}``: ``query`` and ``key`` of the score source, or ``weights`` where a model handed weights
over; a bias, sinks, and the parts of the visibility that two numbers cannot say. Images and sounds are
``media.{number}``. Version 1 had no checksum.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from attention_analyzer.captured import CapturedAttention, SiteRecord
from attention_analyzer.errors import FileFormatError, InputError
from attention_analyzer.external.layers_file import ENTRY as ENTRY_OF_LAYERS
from attention_analyzer.external.layers_file import record_from_layers
from attention_analyzer.fields import Fields
from attention_analyzer.files import draft_checksum, exported, has_checksum, seal, warn_of_old
from attention_analyzer.media.images import Image
from attention_analyzer.media.sounds import Sound
from attention_analyzer.record_reader import read_record
from attention_analyzer.text.tokens import Tokens
from attention_analyzer.weights.bias import Bias, RelativeBias
from attention_analyzer.weights.checks import ROW_SUM_TOLERANCE
from attention_analyzer.weights.dense import DenseWeights
from attention_analyzer.weights.lazy import QueryKeyWeights
from attention_analyzer.weights.visibility import Visibility

VERSION = 2
_ENTRY = "attention_analyzer"
#: As the safetensors library has it.
_LARGEST_HEADER = 100_000_000


def save_record(record: CapturedAttention, path: str | os.PathLike[str], *, durable: bool = True) -> Path:
    """Write a record to one file; the file appears whole or not at all.

    Args:
        durable: whether it is waited until the file is on the disk; see :func:`.files.replaced`.

    Raises:
        InputError: the folder does not exist or cannot be written to, or the record's notes are no JSON.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    target, draft = Path(path), draft_checksum()
    writer = _Writer()
    header = writer.header(record) | {"checksum": draft}
    try:
        metadata = {_ENTRY: json.dumps(header, allow_nan=False)}
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"The record cannot be written, because its notes are no JSON: {error}.") from None
    with exported(target, durable=durable) as beside:
        try:
            save_file(writer.tensors, beside, metadata=metadata)
            seal(beside, draft)
        except SafetensorError as error:  # the library's form of an OSError
            raise OSError(str(error)) from None
    return target


def load_record(path: str | os.PathLike[str]) -> CapturedAttention:
    """Read what :func:`save_record` wrote, or what another program did in the layout of :mod:`.external.layers_file`.

    Raises:
        FileFormatError: the file is missing, foreign, from a newer version, or not as it was written.
    """
    from safetensors import SafetensorError, safe_open

    source = Path(path)
    if not source.is_file():
        raise FileFormatError(f"There is no file {source}.")
    try:
        _check_header(source)
        is_sealed = has_checksum(source)
        with safe_open(source, framework="pt") as opened:
            metadata = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError, ValueError) as error:
        raise FileFormatError(f"{source} is not a record, or is cut off: {error}.") from None
    if _ENTRY not in metadata and ENTRY_OF_LAYERS in metadata:
        return record_from_layers(metadata[ENTRY_OF_LAYERS], tensors, source)
    if _ENTRY not in metadata:
        raise FileFormatError(f"{source} is a safetensors file, but not a record of attention.")
    header = Fields.parse(metadata[_ENTRY], str(source))
    version = header.whole("version", 1)
    if version > VERSION:
        raise FileFormatError(
            f"{source} has format version {version}, but this release reads up to {VERSION}; update the package."
        )
    if not is_sealed and version > 1:
        raise FileFormatError(f"{source} has lost its checksum: it was cut or altered.")
    record = read_record(header, tensors)
    if not is_sealed:
        warn_of_old(f"The record {source}")
    return record


def _check_header(source: Path) -> None:
    """A large file that is none of ours is refused before all of it is read.

    Raises:
        ValueError: it does not begin as safetensors does.
    """
    with source.open("rb") as file:
        start = file.read(9)
    if start[8:] != b"{" or int.from_bytes(start[:8], "little") > _LARGEST_HEADER:
        raise ValueError("it does not begin with a header")


@dataclass
class _Writer:
    tensors: dict[str, Tensor] = field(default_factory=dict)
    axes: list[Tokens] = field(default_factory=list)

    def header(self, record: CapturedAttention) -> dict[str, Any]:
        sites = [self._site(entry) for entry in record.entries]
        return {
            "version": VERSION,
            "model_name": record.model_name,
            "fingerprint": record.fingerprint,
            "exact": record.exact,
            "deviation": record.deviation,
            "notes": dict(record.notes),
            "axes": [tokens.to_dict() for tokens in self.axes],
            "sites": sites,
            "media": [self._medium(number, medium) for number, medium in enumerate(record.media)],
        }

    def _medium(self, number: int, medium: Image | Sound) -> dict[str, Any]:
        if isinstance(medium, Image):
            self._keep(f"media.{number}", torch.from_numpy(medium.pixels.copy()))
            return {"kind": "image", "name": medium.name}
        self._keep(f"media.{number}", torch.from_numpy(medium.samples.copy()))
        return {"kind": "sound", "name": medium.name, "rate": medium.rate}

    def _site(self, entry: SiteRecord) -> dict[str, Any]:
        site = entry.site
        described: dict[str, Any] = {
            "stack": site.stack,
            "kind": site.kind,
            "layer": site.layer,
            "heads": site.heads,
            "module": site.module,
            "queries": self._axis(entry.queries),
            "keys": self._axis(entry.keys),
            "visibility": self._visibility(site.name, entry.weights.visibility),
        }
        weights = entry.weights
        if isinstance(weights, QueryKeyWeights):
            source = weights.source
            self._keep(f"{site.name}.query", source.query)
            self._keep(f"{site.name}.key", source.key)
            if source.sinks is not None:
                self._keep(f"{site.name}.sinks", source.sinks)
            described["scaling"] = source.scaling
            described["softcap"] = source.softcap
            described["bias"] = self._bias(site.name, source.bias)
        else:
            assert isinstance(weights, DenseWeights)
            self._keep(f"{site.name}.weights", weights.tensor)
            totals = weights.tensor.sum(-1, dtype=torch.float32)
            described["partial_rows"] = bool(((totals > 0) & (totals < 1 - ROW_SUM_TOLERANCE)).any())
        return described

    def _axis(self, tokens: Tokens) -> int:
        if tokens not in self.axes:
            self.axes.append(tokens)
        return self.axes.index(tokens)

    def _visibility(self, name: str, seen: Visibility) -> dict[str, Any]:
        parts = {"key_seen": seen.key_seen, "mask": seen.mask}
        if seen.segments is not None:
            parts["query_segments"], parts["key_segments"] = seen.segments
        for part, tensor in parts.items():
            if tensor is not None:
                self._keep(f"{name}.{part}", tensor)
        return {"queries": seen.queries, "keys": seen.keys, "lower": seen.lower, "upper": seen.upper}

    def _bias(self, name: str, bias: Bias | None) -> dict[str, Any] | None:
        if bias is None:
            return None
        if isinstance(bias, RelativeBias):
            self._keep(f"{name}.diagonals", bias.diagonals)
            return {"origin": bias.origin, "queries": bias.queries, "keys": bias.keys}
        self._keep(f"{name}.bias", bias.values)
        return {}

    def _keep(self, name: str, tensor: Tensor) -> None:
        # A copy: safetensors refuses tensors that share memory, and a record may hold views of one batch.
        self.tensors[name] = tensor.detach().cpu().clone().contiguous()
