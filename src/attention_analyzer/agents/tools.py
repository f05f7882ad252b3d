"""The tools: a method each, with a docstring that a client reads, and one line in :data:`TOOLS`.

Parameters are plain, so that their schema is; every answer is text, or text and a picture.
"""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Annotated, Any, Literal

from pydantic import Field

from attention_analyzer.agents.answers import answer, plain, rows
from attention_analyzer.agents.folder import Folder
from attention_analyzer.analyzer import AttentionAnalyzer
from attention_analyzer.errors import InputError
from attention_analyzer.record import AttentionRecord
from attention_analyzer.site import head_rows
from attention_analyzer.view.figures import map_figure

#: Characters of a text, and texts at once.
LONGEST_TEXT = 200_000
MOST_TEXTS = 100
_MODELS_KEPT = 2
_DOTS_PER_INCH = 110

Text = Annotated[str, Field(description="The text; or the name of a file, when `file` is true.")]
IsFile = Annotated[bool, Field(description="Whether `text` names a file in the offered folder (a text or a record).")]
Model = Annotated[str | None, Field(description="One of the tool `models`; the default when left out.")]
Layer = Annotated[int | None, Field(description="Counted from zero; negative counts from the end.")]
Limit = Annotated[int, Field(description="Rows to give, at most 500.")]
Texts = Annotated[list[str], Field(description="Texts, at most 100.")]


class Tools:
    """What clients may call, on the models and the folder that were offered at start.

    Args:
        models: the only names that may be loaded; the first is the default.
        folder: where files may be read.
    """

    def __init__(self, models: Sequence[str], folder: Folder) -> None:
        if not models:
            raise InputError("No model is offered; name at least one.")
        self.offered = tuple(models)
        self.folder = folder
        self._loaded: OrderedDict[str, AttentionAnalyzer] = OrderedDict()
        self._lock = Lock()

    def models(self) -> str:
        """The models that can be analyzed, the default first."""
        return answer("models", models=list(self.offered))

    def files(self) -> str:
        """Texts, chats and saved records in the offered folder."""
        return answer("files", files=self.folder.names())

    def scan(
        self,
        text: Text,
        file: IsFile = False,
        model: Model = None,
        layer: Layer = None,
        sort: Annotated[str, Field(description="A column; with - before it, largest first.")] = "layer",
        limit: Limit = 50,
    ) -> str:
        """Statistics of every head on a text: entropy (nats), distance (tokens), weight on groups of tokens …"""
        record = self._record(text, file, model)
        table = record.heads()
        if layer is not None:
            last = table["layer"].max()
            table = head_rows(table, layer)
            if table.empty:
                raise InputError(f"There is no layer {layer}; the layers are 0 to {last}.")
        column = sort.removeprefix("-")
        if column not in table.columns:
            raise InputError(f"There is no column {column!r}; the columns are {', '.join(table.columns)}.")
        table = table.sort_values(column, ascending=not sort.startswith("-"), kind="stable")
        return answer("scan", model=record.model_name, tokens=list(record.tokens.pieces), **rows(table, limit))

    def weights(
        self,
        text: Text,
        layer: Annotated[int, Field(description="Layer, counted from zero.")],
        head: Annotated[int, Field(description="Head, counted from zero.")],
        file: IsFile = False,
        model: Model = None,
        most: Annotated[int, Field(description="The strongest keys given for each query, at most 20.")] = 3,
        limit: Annotated[int, Field(description="Queries to give, at most 500, from the first.")] = 100,
    ) -> str:
        """Where one head looks: for each query token the keys with the largest exact weights."""
        if not 1 <= most <= 20:
            raise InputError(f"most is {most}, but between 1 and 20 keys can be given for a query.")
        record = self._record(text, file, model)
        pieces = list(record.tokens.pieces)
        shown = min(limit, len(pieces))
        found = record.weights(layer=layer, head=head, queries=slice(0, shown))
        values, places = found.topk(min(most, found.shape[-1]))
        keys = pieces if found.shape[-1] == len(pieces) else [str(place) for place in range(found.shape[-1])]
        strongest = [
            {
                "query": position,
                "token": pieces[position],
                "keys": [
                    {"key": int(place), "token": keys[int(place)], "weight": plain(float(value))}
                    for value, place in zip(values[position], places[position], strict=True)
                ],
            }
            for position in range(len(found))
        ]
        return answer("weights", model=record.model_name, layer=layer, head=head, queries=strongest, total=len(pieces))

    def tokens(
        self,
        text: Text,
        file: IsFile = False,
        model: Model = None,
        method: Annotated[
            str, Field(description="received, rollout, gradient_attention, integrated_gradients, deletion …")
        ] = "received",
        target: Annotated[str | None, Field(description="Prediction to explain: next, next=X, mask, class …")] = None,
    ) -> str:
        """How important each token is. Attention received says where a model looks, not what caused its output."""
        found = self._analyzer(model).token_importance(self._text(text, file), method, target=target)
        return answer(
            "tokens", model=found.model_name, method=found.title, target=str(found.target), **rows(found.table, 500)
        )

    def patterns(self, texts: Texts, model: Model = None, limit: Limit = 200) -> str:
        """What each head does by name (previous token, induction, first token …), with a strength and an interval.

        Needs at least three texts; a label is given only where it beats a control.
        """
        found = self._analyzer(model).label_heads(self._texts(texts))
        return answer("patterns", model=found.model_name, **rows(found.to_frame(), limit))

    def compare(
        self,
        first: Annotated[str, Field(description="A model of the tool `models`.")],
        second: Annotated[str, Field(description="Another one.")],
        texts: Texts,
        limit: Limit = 50,
    ) -> str:
        """What differs between two models on the same texts: head by head, with intervals."""
        found = self._analyzer(first).compare(self._analyzer(second), texts=self._texts(texts))
        return answer("compare", summary=repr(found), **rows(found.to_frame(), limit))

    def what_if(
        self,
        text: Text,
        file: IsFile = False,
        model: Model = None,
        knock_out: Annotated[list[str], Field(description="Edges, such as L2H5:7>3 (query>key) or L2:*>0.")] = [],  # noqa: B006
        ablate: Annotated[list[str], Field(description="Heads whose output is set to zero, such as L2H5 or L2.")] = [],  # noqa: B006
        target: Annotated[str | None, Field(description="Token or class to follow (default: the most likely).")] = None,
        position: Annotated[int | None, Field(description="Position of the prediction (default: the last).")] = None,
    ) -> str:
        """How the prediction changes when attention edges are removed or heads are ablated."""
        found = self._analyzer(model).what_if(
            self._text(text, file), knock_out=knock_out, ablate=ablate, target=target, position=position
        )
        return answer(
            "what_if",
            model=found.model_name,
            changed=found.changed,
            target=found.target,
            before=plain(found.before),
            after=plain(found.after),
            kl=plain(found.kl),
            **rows(found.table, 50),
        )

    def figure(
        self,
        text: Text,
        file: IsFile = False,
        model: Model = None,
        layer: Layer = None,
        head: Annotated[int | None, Field(description="Head, counted from zero; needs `layer`.")] = None,
        metric: Annotated[str, Field(description="Metric of the layer × head map.")] = "entropy",
    ) -> list[Any]:
        """A picture: one head's weights (layer and head), all heads of a layer, or a layer × head map of a metric."""
        from mcp.server.mcpserver import Image

        if head is not None and layer is None:
            raise InputError("A head is drawn with its layer; give layer too.")
        record = self._record(text, file, model)
        drawn = record.figure(layer, head) if layer is not None else map_figure(record, metric)
        buffer = io.BytesIO()
        drawn.savefig(buffer, format="png", dpi=_DOTS_PER_INCH)
        what = {"layer": layer, "head": head} if layer is not None else {"metric": metric}
        return [answer("figure", model=record.model_name, **what), Image(data=buffer.getvalue(), format="png")]

    def _analyzer(self, model: str | None) -> AttentionAnalyzer:
        name = self.offered[0] if model is None else model
        if name not in self.offered:
            raise InputError(f"The model {name!r} is not offered; the models are {', '.join(self.offered)}.")
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = AttentionAnalyzer(name)
            self._loaded.move_to_end(name)
            while len(self._loaded) > _MODELS_KEPT:
                self._loaded.popitem(last=False)
            return self._loaded[name]

    def _record(self, text: str, file: bool, model: str | None) -> AttentionRecord:
        path = self.folder.file(text) if file else None
        if path is not None and path.suffix.lower() in {".attn", ".safetensors"}:
            return AttentionRecord.load(path)
        return self._analyzer(model).record(self._text(text, file))

    def _text(self, text: str, file: bool) -> str:
        content = _read(self.folder.file(text)) if file else text
        if len(content) > LONGEST_TEXT:
            raise InputError(
                f"The text has {len(content):,} characters, more than {LONGEST_TEXT:,}; give a part of it."
            )
        return content

    def _texts(self, texts: Sequence[str]) -> list[str]:
        if not 1 <= len(texts) <= MOST_TEXTS:
            raise InputError(f"{len(texts)} texts were given, but between 1 and {MOST_TEXTS} can be analyzed at once.")
        return [self._text(text, False) for text in texts]


def _read(path: Path) -> str:
    from attention_analyzer.text.decoding import decode
    from attention_analyzer.text.readers.opened import bytes_of

    return decode(bytes_of(path), path.name)


#: Names of the tools; the order in which clients see them.
TOOLS: tuple[
    Literal["models", "files", "scan", "weights", "tokens", "patterns", "compare", "what_if", "figure"], ...
] = ("models", "files", "scan", "weights", "tokens", "patterns", "compare", "what_if", "figure")
