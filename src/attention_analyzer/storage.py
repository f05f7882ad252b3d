"""Records as files: safetensors with a JSON header, no pickle, linear in the text.

Layout, version 1: the metadata entry ``attention_analyzer`` is JSON with the format's version, the record's own
attributes, the token axes (each once) and the sites. Tensors are named ``{site}.{part}``: ``query`` and ``key`` of the
score source, or ``weights`` where a model handed weights over; a bias, sinks, and the parts of the visibility that two
numbers cannot say.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from attention_analyzer.errors import AttentionAnalyzerError, FileFormatError, InputError
from attention_analyzer.external.layers_file import ENTRY as ENTRY_OF_LAYERS
from attention_analyzer.external.layers_file import record_from_layers
from attention_analyzer.record import AttentionRecord, SiteRecord
from attention_analyzer.site import Site
from attention_analyzer.text.tokens import Tokens
from attention_analyzer.weights.base import AttentionWeights
from attention_analyzer.weights.bias import Bias, DenseBias, RelativeBias
from attention_analyzer.weights.dense import DenseWeights
from attention_analyzer.weights.lazy import QueryKeyWeights
from attention_analyzer.weights.scores import ScoreSource
from attention_analyzer.weights.visibility import Visibility

VERSION = 1
_ENTRY = "attention_analyzer"


def save_record(record: AttentionRecord, path: str | os.PathLike[str]) -> Path:
    """Write a record to one file; the file appears whole or not at all.

    Raises:
        InputError: the folder does not exist or cannot be written to.
    """
    from safetensors.torch import save_file

    target = Path(path)
    writer = _Writer()
    header = writer.header(record)
    if not target.parent.is_dir():
        raise InputError(f"The folder {target.parent} does not exist; make it first, or save elsewhere.")
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    os.close(handle)
    try:
        save_file(writer.tensors, name, metadata={_ENTRY: json.dumps(header)})
        Path(name).chmod(0o644)
        Path(name).replace(target)
    except OSError as error:
        raise InputError(f"The record could not be written to {target}: {error}.") from error
    finally:
        Path(name).unlink(missing_ok=True)
    return target


def load_record(path: str | os.PathLike[str]) -> AttentionRecord:
    """Read what :func:`save_record` wrote, or what another program did in the layout of :mod:`.external.layers_file`.

    Raises:
        FileFormatError: the file is missing, corrupt, foreign, or from a newer version.
    """
    from safetensors import SafetensorError, safe_open

    source = Path(path)
    if not source.is_file():
        raise FileFormatError(f"There is no file {source}.")
    try:
        with safe_open(source, framework="pt") as opened:
            metadata = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError, ValueError) as error:
        raise FileFormatError(f"{source} is not a record, or is cut off: {error}.") from None
    if _ENTRY not in metadata and ENTRY_OF_LAYERS in metadata:
        return record_from_layers(metadata[ENTRY_OF_LAYERS], tensors, source)
    if _ENTRY not in metadata:
        raise FileFormatError(f"{source} is a safetensors file, but not a record of attention.")
    try:
        header = json.loads(metadata[_ENTRY])
        version = header["version"]
        if version > VERSION:
            raise FileFormatError(
                f"{source} has format version {version}, but this release reads up to {VERSION}; update the package."
            )
        return _Reader(tensors, header).record()
    except (KeyError, TypeError, IndexError, ValueError, AttributeError) as error:
        if isinstance(error, AttentionAnalyzerError):
            raise
        raise FileFormatError(f"{source} lacks a part that every record has, or garbles it: {error!r}.") from None


@dataclass
class _Writer:
    tensors: dict[str, Tensor] = field(default_factory=dict)
    axes: list[Tokens] = field(default_factory=list)

    def header(self, record: AttentionRecord) -> dict[str, Any]:
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
        }

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


@dataclass(frozen=True)
class _Reader:
    tensors: dict[str, Tensor]
    header: dict[str, Any]

    def record(self) -> AttentionRecord:
        axes = [Tokens.from_dict(axis) for axis in self.header["axes"]]
        entries = tuple(
            SiteRecord(
                Site(site["stack"], site["kind"], site["layer"], site["heads"], site["module"]),
                self._weights(f"{site['stack']}.{site['kind']}.{site['layer']}", site),
                axes[site["queries"]],
                axes[site["keys"]],
            )
            for site in self.header["sites"]
        )
        header = self.header
        return AttentionRecord(
            entries,
            header["model_name"],
            header["fingerprint"],
            header["exact"],
            header["deviation"],
            header["notes"],
        )

    def _weights(self, name: str, site: dict[str, Any]) -> AttentionWeights:
        seen = self._visibility(name, site["visibility"])
        if f"{name}.weights" in self.tensors:
            return DenseWeights(self.tensors[f"{name}.weights"], seen)
        query, key = self.tensors[f"{name}.query"], self.tensors[f"{name}.key"]
        if (query.shape[2], key.shape[2]) != (seen.queries, seen.keys) or query.shape[1] != site["heads"]:
            raise FileFormatError(f"The queries and keys of {name} do not have the sizes that the file declares.")
        source = ScoreSource(
            query=query,
            key=key,
            scaling=site["scaling"],
            visibility=seen,
            softcap=site["softcap"],
            bias=self._bias(name, site["bias"]),
            sinks=self.tensors.get(f"{name}.sinks"),
        )
        return QueryKeyWeights(source)

    def _visibility(self, name: str, described: dict[str, Any]) -> Visibility:
        segments = None
        if f"{name}.query_segments" in self.tensors:
            segments = self.tensors[f"{name}.query_segments"], self.tensors[f"{name}.key_segments"]
        return Visibility(
            **described,
            key_seen=self.tensors.get(f"{name}.key_seen"),
            segments=segments,
            mask=self.tensors.get(f"{name}.mask"),
        )

    def _bias(self, name: str, described: dict[str, Any] | None) -> Bias | None:
        if described is None:
            return None
        if described:
            return RelativeBias(self.tensors[f"{name}.diagonals"], **described)
        return DenseBias(self.tensors[f"{name}.bias"])
