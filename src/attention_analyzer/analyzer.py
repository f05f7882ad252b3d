"""The front door: a model, and everything that can be asked about its attention."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import torch
from torch import nn

from attention_analyzer.cache import RecordCache, default_folder
from attention_analyzer.captured import CapturedAttention, Origin
from attention_analyzer.errors import InputError
from attention_analyzer.given_inputs import single_texts
from attention_analyzer.matrices import LIMIT, AttentionMatrices, matrices_of
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.models.loading import from_config, load
from attention_analyzer.record import AttentionRecord
from attention_analyzer.recording import BATCH, generate, record_inputs, record_texts, stream_texts
from attention_analyzer.text.tokenization import Pair, tokenize
from attention_analyzer.text.tokens import Tokens

if TYPE_CHECKING:
    import pandas as pd

    from attention_analyzer.attribution import AttributionComparison, TokenImportance
    from attention_analyzer.comparison import Comparison
    from attention_analyzer.corpus import Corpus
    from attention_analyzer.diagnosis import Diagnosis
    from attention_analyzer.heads import HeadImportance, PruningCurve, Similarity, Specialisation
    from attention_analyzer.interventions import WhatIf
    from attention_analyzer.linguistics import Relations
    from attention_analyzer.metrics.metric import Metric
    from attention_analyzer.patterns.cache_advice import CacheAdvice
    from attention_analyzer.patterns.labels import LabelTable
    from attention_analyzer.progress import OnProgress
    from attention_analyzer.run.runner import StudyResults
    from attention_analyzer.run.study import Study
    from attention_analyzer.text.annotation import AnnotatedText


class AttentionAnalyzer:
    """Extracts, measures and explains the attention of one model.

    >>> analyzer = AttentionAnalyzer("demo-encoder")
    >>> analyzer.record("The cat sat on the mat.").heads()  # one row per head

    Args:
        model: a bundled or packaged name, a local folder, a hub id, or a model that is already loaded. With nothing
            named: ``bert-base-uncased``, or the offline encoder (with a warning) where that cannot be had.
        tokenizer: the tokenizer or processor of a loaded model.
        device: "auto" takes a CUDA device where there is one; a loaded model stays where it is.
        dtype: "auto" keeps the checkpoint's (float16 becomes float32 on a CPU).
        model_class: a transformers class or its name, to load a checkpoint as something else than it was saved as.
        revision: branch, tag or commit on the hub.
        trust_remote_code: whether the checkpoint's own code may run.
        allow_pickle: whether weights may be read from pickle files.
        cache: True for the platform's cache folder, a folder, or False for none. See :class:`.cache.RecordCache`.
        options: further arguments of ``from_pretrained``, such as ``attn_implementation`` or ``device_map``.

    Raises:
        ModelNotFoundError: the named model cannot be had here.
        ModelError: it can, but not be loaded.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | nn.Module | None = None,
        tokenizer: Any = None,
        *,
        device: str | torch.device = "auto",
        dtype: str | torch.dtype = "auto",
        model_class: str | type | None = None,
        revision: str | None = None,
        trust_remote_code: bool = False,
        allow_pickle: bool = False,
        cache: bool | str | os.PathLike[str] = True,
        **options: Any,
    ) -> None:
        self.loaded = load(
            model,
            tokenizer,
            device=device,
            dtype=dtype,
            model_class=model_class,
            revision=revision,
            trust_remote_code=trust_remote_code,
            allow_pickle=allow_pickle,
            **options,
        )
        self.cache = _cache(cache)

    @classmethod
    def from_config(
        cls,
        config: Any,
        tokenizer: Any = None,
        *,
        model_class: str | type | None = None,
        seed: int = 0,
        device: str = "auto",
        cache: bool | str | os.PathLike[str] = False,
    ) -> AttentionAnalyzer:
        """An analyzer of a custom configuration with fresh random weights (the same for the same seed)."""
        return cls.of(from_config(config, tokenizer, model_class=model_class, seed=seed, device=device), cache=cache)

    @classmethod
    def of(cls, loaded: LoadedModel, *, cache: bool | str | os.PathLike[str] = True) -> AttentionAnalyzer:
        """An analyzer of a model that :func:`.models.loading.load` gave."""
        analyzer = cls.__new__(cls)
        analyzer.loaded = loaded
        analyzer.cache = _cache(cache)
        return analyzer

    @property
    def model(self) -> nn.Module:
        return self.loaded.model

    @property
    def tokenizer(self) -> Any:
        return self.loaded.tokenizer

    @property
    def name(self) -> str:
        return self.loaded.name

    @property
    def device(self) -> torch.device:
        return self.loaded.device

    @property
    def fingerprint(self) -> str:
        """A hash of the model's weights and configuration."""
        return self.loaded.fingerprint

    def __repr__(self) -> str:
        return f"<AttentionAnalyzer of {self.name}: {type(self.model).__name__} on {self.device}>"

    # Records

    @overload
    def record(
        self, text: str | Pair, *, truncate: bool = ..., check: bool = ..., batch_size: int = ...
    ) -> AttentionRecord: ...
    @overload
    def record(
        self, text: list[str] | list[Pair], *, truncate: bool = ..., check: bool = ..., batch_size: int = ...
    ) -> list[AttentionRecord]: ...
    @overload
    def record(self, *, inputs: Mapping[str, Any], check: bool = ...) -> AttentionRecord | list[AttentionRecord]: ...
    def record(
        self,
        text: str | Pair | Sequence[str | Pair] | None = None,
        *,
        inputs: Mapping[str, Any] | None = None,
        truncate: bool = False,
        check: bool = True,
        batch_size: int = BATCH,
    ) -> AttentionRecord | list[AttentionRecord]:
        """Run the model and keep what is needed to answer anything about its attention.

        Args:
            text: a text; a tuple of two texts (for an encoder–decoder: source and target); or a list of either, which
                gives a list of records.
            inputs: instead of text, inputs of the model's forward, such as a tokenizer's or a processor's. A batch, or
                texts packed into a row, gives a list, one record per text; padding is neither measured nor shown.
            truncate: cut what the model has no positions for, instead of refusing it.
            check: whether module outputs are rebuilt from the weights and compared with the model's own.
            batch_size: how many texts run together.

        Raises:
            InputError: a text is empty or not a text.
            TooLongError: a text has more tokens than the model has positions.
            UnsupportedModelError: the model's attention cannot be represented.
            CaptureError: the weights do not reproduce the model's own outputs.
        """
        if (text is None) == (inputs is None):
            raise InputError("Give either a text or inputs=…, and not both.")
        if inputs is not None:
            return self._of_inputs(inputs, check)
        one = _one_text(text)
        if one is not None:
            return self._records([one], truncate, check, batch_size)[0]
        if isinstance(text, (bytes, tuple)) or not isinstance(text, Sequence):
            raise InputError(f"A text, a pair of texts or a list of them was expected, not {type(text).__name__}.")
        return self._records(list(text), truncate, check, batch_size)

    def generate(self, prompt: str, *, max_new_tokens: int = 40, **options: Any) -> AttentionRecord:
        """Let the model write, and record attention over prompt and written tokens; see :func:`.recording.generate`."""
        record = generate(self.loaded, prompt, max_new_tokens=max_new_tokens, **options)
        return self._held(record)

    def heads(
        self,
        text: str | Pair | Sequence[str | Pair],
        metrics: Sequence[Metric] | None = None,
        *,
        truncate: bool = False,
        batch_size: int = BATCH,
    ) -> pd.DataFrame:
        """The head table without keeping queries and keys: memory stays near that of the plain forward.

        A list of texts adds a column ``text`` with each text's number.
        """
        import pandas as pd

        from attention_analyzer.metrics import METRICS
        from attention_analyzer.metrics.head_table import evaluate, needs_of, table_of

        chosen = METRICS if metrics is None else tuple(metrics)
        one = _one_text(text)
        texts = list(text) if one is None else [one]
        frames: list[pd.DataFrame] = []
        for batch in stream_texts(self.loaded, texts, needs_of(chosen), truncate=truncate, batch_size=batch_size):
            pairs = zip(batch.sites, batch.statistics, strict=True)
            values = [(site, evaluate(statistics, chosen)) for site, statistics in pairs]
            for index in range(len(batch.tokens)):
                frame = table_of(values, index)
                if one is None:
                    frame.insert(0, "text", len(frames))
                frames.append(frame)
        if not frames:
            raise InputError("No texts were given; at least one is needed.")
        return pd.concat(frames, ignore_index=True)

    def diagnose(self, text: str | None = None, *, inputs: Mapping[str, Any] | None = None) -> Diagnosis:
        """What the model was taken out of, how its attention is captured and why so, and whether that holds.

        See :func:`.diagnosis.diagnose`.

        Raises:
            UnsupportedModelError: the model has no attention that can be shown; the message says what it does instead.
        """
        from attention_analyzer.diagnosis import diagnose

        return diagnose(self.loaded, text, inputs=inputs)

    # The interface of the specification

    def get_attention_patterns(
        self, text: str | Pair, *, truncate: bool = False, max_bytes: int = LIMIT
    ) -> AttentionMatrices:
        """Whole attention matrices: one tensor ``[1, head, query, key]`` per layer, and ``.as_dict()`` by site name.

        Raises:
            TooLongError: they would take more than ``max_bytes``.
        """
        if not isinstance(text, (str, tuple)):
            raise InputError(f"One text or a pair of texts was expected, not {type(text).__name__}.")
        return matrices_of(self.record(text, truncate=truncate), max_bytes)

    def analyze_pattern(self, pattern: Any, tokens: Sequence[str] | Tokens | None = None) -> dict[str, Any]:
        """Statistics and named patterns of an attention matrix; see :func:`.patterns.analysis.analyze_matrix`.

        Args:
            pattern: ``[query, key]`` for one head, or ``[head, query, key]`` or ``[1, head, query, key]``, torch or
                NumPy.
            tokens: what queries and keys show; without them, what depends on tokens is left out.

        Returns:
            A dict with ``mean``, ``max``, ``min``, ``entropy`` and the other metrics (over several heads: their
            means, and for ``max`` and ``min`` the extremes), ``patterns`` (strength in [0, 1] by name), ``shows``
            (the names it earns, the most specific first) and, for several heads, ``heads``: the same for each.
        """
        from attention_analyzer.patterns.analysis import analyze_matrix

        return analyze_matrix(pattern, tokens)

    def get_token_importance(
        self, text: str | Pair, method: str = "received", **options: Any
    ) -> list[tuple[str, float]]:
        """How important each token is, as ``(token, score)`` in the order of the text; scores sum to one.

        Args:
            method: one of :data:`.attribution.ATTRIBUTIONS`. "received", the default, is how much attention a token
                gets: a description, not a claim about what moved the output.
            options: see :func:`.attribution.token_importance`.
        """
        importance = self.token_importance(text, method, **options)
        return list(zip(importance.tokens, importance.scores, strict=True))

    # What heads do

    def study(
        self,
        texts: Sequence[str | Pair],
        studies: Sequence[Study[Any]],
        *,
        store: str | os.PathLike[str] | None = None,
        truncate: bool = False,
        batch_size: int = BATCH,
        errors: Literal["raise", "skip"] = "raise",
        progress: OnProgress | None = None,
    ) -> StudyResults:
        """Any number of studies (:data:`.studies.STUDIES`, or your own) of the same texts, with one forward per batch.

        >>> labels, similar = analyzer.study(texts, [Patterns(), HeadSimilarity()], store="study")

        Args:
            texts: a list of texts or pairs of texts.
            studies: what is to be learned.
            store: a folder that keeps what was learned; the same call resumes there after an interruption.
            truncate: cut what the model has no positions for.
            batch_size: how many texts run together.
            errors: "raise", or "skip" to leave out texts that cannot be used and list them in ``problems``.
            progress: called with how many texts are done and how many there are.

        Returns:
            The results in the order of the studies, with ``problems``: ``index, text, reason`` of texts left out.

        Raises:
            InputError: no list of texts or no study was given, a text cannot be used, or the store is of another run.
            FileFormatError: a file of the store is not as it was written.
        """
        from attention_analyzer.run.runner import StudyResults, run_studies

        if isinstance(texts, (str, bytes)):
            raise InputError(f"A list of texts was expected, not {type(texts).__name__}.")
        learned = run_studies(
            self.loaded,
            list(texts),
            studies,
            store=store,
            truncate=truncate,
            batch_size=batch_size,
            errors=errors,
            progress=progress,
        )
        pairs = zip(studies, learned.states, strict=True)
        return StudyResults(tuple(study.result(self.loaded, state) for study, state in pairs), learned.problems)

    def patterns(self, texts: Sequence[str | Pair], **options: Any) -> LabelTable:
        """Which heads may bear which pattern's name, from at least three texts; see :func:`.labels.label_heads`.

        Args:
            texts: better twenty: the texts are what intervals and tests are over.
            options: ``patterns``, ``level``, ``thresholds``, ``probes``, ``untrained``, ``truncate``, ``seed``,
                ``progress``.

        Raises:
            InputError: fewer than three texts.
        """
        from attention_analyzer.patterns.labels import label_heads

        return label_heads(self.loaded, texts, **options)

    def cache_advice(self, texts: Sequence[str | Pair], **options: Any) -> CacheAdvice:
        """What each head of a decoder needs of the KV cache; see :func:`.patterns.cache_advice.cache_advice`.

        Args:
            texts: at least three long ones.
            options: ``first`` and ``last``, the numbers of keys to try; ``share``, the weight to be kept; ``truncate``,
                ``progress``.
        """
        from attention_analyzer.patterns.cache_advice import cache_advice

        return cache_advice(self.loaded, texts, **options)

    # Importance of tokens

    def token_importance(self, text: str | Pair, method: str = "received", **options: Any) -> TokenImportance:
        """How important each token is, with its table and picture; see :func:`.attribution.token_importance`."""
        from attention_analyzer.attribution import token_importance

        return token_importance(self.loaded, text, method=method, **options)

    def compare_attributions(self, text: str | Pair, **options: Any) -> AttributionComparison:
        """Several methods on one text, and how far each can be trusted there, by deleting tokens.

        See :func:`.attribution.compare_attributions`.
        """
        from attention_analyzer.attribution import compare_attributions

        return compare_attributions(self.loaded, text, **options)

    def specialisation(self, texts: Sequence[str | Pair] | Iterable[AnnotatedText], **options: Any) -> Specialisation:
        """Every metric by depth, and where the weight goes; see :func:`.heads.specialisation.specialisation`.

        Args:
            texts: texts, or sentences annotated with dependencies, which adds the share that goes along the syntax.
        """
        from attention_analyzer.heads import specialisation

        return specialisation(self.loaded, texts, **options)

    def similarity(self, texts: Sequence[str | Pair], **options: Any) -> Similarity:
        """How alike heads look: clusters, a map, redundant groups, complementary pairs, loners.

        See :func:`.heads.similarity.similarity`.

        Args:
            texts: at least three.
            options: ``stack``, ``kind``, ``clusters``, ``redundant``, ``progress`` ….

        Raises:
            InputError: fewer than three texts.
            MissingDependencyError: scikit-learn is not installed.
        """
        from attention_analyzer.heads import similarity

        return similarity(self.loaded, texts, **options)

    def head_importance(
        self, texts: Sequence[str | Pair], method: Literal["gradient", "silence"] = "gradient", **options: Any
    ) -> HeadImportance:
        """How much the model needs each head; see :func:`.heads.importance.head_importance`.

        Args:
            method: "gradient" (of the loss, by a factor on the head) or "silence" (what changes without the head).
            options: ``heads`` (sets to be silenced), ``measure``, ``silence_with``, ``labels``, ``progress`` ….

        Raises:
            UnsupportedModelError: attention that cannot be altered, or by gradient no loss.
        """
        from attention_analyzer.heads import head_importance

        return head_importance(self.loaded, texts, method, **options)

    def pruning_curve(
        self, texts: Sequence[str | Pair], method: Literal["gradient", "silence"] = "gradient", **options: Any
    ) -> PruningCurve:
        """What is left while more and more heads are silent; see :func:`.heads.pruning.pruning_curve`."""
        from attention_analyzer.heads import pruning_curve

        return pruning_curve(self.loaded, texts, method, **options)

    # Interventions

    def what_if(self, text: str | Pair, **options: Any) -> WhatIf:
        """The prediction before and after heads are changed; see :func:`.interventions.what_if.what_if`.

        >>> analyzer.what_if("The cat sat on the", silence="L2H5").table

        Args:
            options: ``knock_out`` (edges such as ``"L2H5:7>3"``), ``silence`` and ``replace`` (heads such as
                ``"L2H5"``), ``target``, ``position`` ….

        Raises:
            InputError: something named is not there, or has another form.
            UnsupportedModelError: the model's attention can be looked at but not altered.
        """
        from attention_analyzer.interventions import what_if

        return what_if(self.loaded, text, **options)

    def compare(self, other: Any = None, **options: Any) -> Comparison:
        """Where another model's attention (or this one's on other texts) differs; see :func:`.comparison.compare`.

        Raises:
            InputError: no texts, or texts that have no word in common.
            ModelError: the other model cannot be had.
        """
        from attention_analyzer.comparison import compare

        return compare(self, other, **options)

    # Language and corpora

    def relations(self, annotated: str | Path | Iterable[AnnotatedText], **options: Any) -> Relations:
        """What heads know of dependencies, semantic roles and coreference; see :func:`.linguistics.relations`.

        Args:
            annotated: a CoNLL-U or CoNLL-2012 file, or sentences annotated by spaCy or Stanza.

        Raises:
            FileFormatError: the annotation is malformed; the message has line and reason.
        """
        from attention_analyzer.linguistics import relations

        return relations(self.loaded, annotated, **options)

    def scan(self, inputs: Any, store: str | Path, **options: Any) -> Corpus:
        """Measure every head on every text of a corpus, into a folder that can be asked; see :class:`.corpus.Corpus`.

        A scan that was stopped goes on where it was when it is called again, and ends with the same tables.

        Args:
            inputs: files, folders, patterns or datasets (txt, csv, jsonl, parquet, conllu, Hugging Face datasets on
                disk), or any iterable of texts. They are streamed.
            store: the folder.
            options: ``column`` with the text; ``unit`` of plain text files ("line", "paragraph", "file");
                ``encoding`` of files that are neither UTF-8 nor UTF-16 ("cp1252"); ``delimiter`` of CSV files (";") and
                ``header=False`` where their first line is a row, whose columns are "1", "2", …; ``truncate``;
                ``examples`` kept per head; ``links=False`` for a small store that cannot be searched;
                ``batch_tokens``; ``engine="ray"`` with ``workers`` and ``address``; ``progress``: False, or a function
                that is given a :class:`.corpus.Progress`.

        Raises:
            InputError: an input or setting cannot be used, or the store is of another model, setting or input.
            AttentionAnalyzerError: the store cannot be written; what was finished is kept.
        """
        from attention_analyzer.corpus import scan

        return scan(self.loaded, inputs, store, **options)

    # Inside

    def _held(self, captured: CapturedAttention, inputs: Mapping[str, Any] | None = None) -> AttentionRecord:
        """What was captured, with the model that it came from."""
        return AttentionRecord.of(replace(captured, origin=Origin(self.loaded, inputs)))

    def _of_inputs(self, inputs: Mapping[str, Any], check: bool) -> AttentionRecord | list[AttentionRecord]:
        records = record_inputs(self.loaded, inputs, check=check)
        if len(records) == 1 and "input_ids" not in inputs:
            return self._held(records[0], inputs)
        rows: list[dict[str, torch.Tensor]] = []
        with suppress(InputError):  # what cannot be cut into texts cannot be run again text by text
            rows = single_texts(inputs)
        if len(rows) == len(records):
            held = [self._held(record, row) for record, row in zip(records, rows, strict=True)]
        else:
            held = [self._held(record, inputs if len(records) == 1 else None) for record in records]
        return held[0] if len(held) == 1 else held

    def _records(self, texts: list[str | Pair], truncate: bool, check: bool, batch_size: int) -> list[AttentionRecord]:
        return [self._held(captured) for captured in self._cached_records(texts, truncate, check, batch_size)]

    def _cached_records(
        self, texts: list[str | Pair], truncate: bool, check: bool, batch_size: int
    ) -> list[CapturedAttention]:
        if self.cache is None:
            return record_texts(self.loaded, texts, truncate=truncate, check=check, batch_size=batch_size)
        keys = [self._key(text, truncate) for text in texts]
        records = [self.cache.get(key) for key in keys]
        missing = [index for index, record in enumerate(records) if record is None]
        made = record_texts(
            self.loaded, [texts[i] for i in missing], truncate=truncate, check=check, batch_size=batch_size
        )
        for index, record in zip(missing, made, strict=True):
            self.cache.put(keys[index], record)
            records[index] = record
        return [record for record in records if record is not None]

    def _key(self, text: str | Pair, truncate: bool) -> str:
        import transformers

        whole = [text] if self.loaded.architecture != "encoder-decoder" or isinstance(text, str) else [text[0]]
        tokenized = tokenize(self.loaded.need_tokenizer(), whole, max_length=self.loaded.max_length, truncate=truncate)
        settings = {
            "tokens": tokenized.tokens[0].to_dict(),
            "backend": getattr(self.loaded.config, "_attn_implementation", None),
            "device": self.device.type,
            "versions": [torch.__version__, transformers.__version__],
        }
        return RecordCache.key(self.fingerprint, text, settings)


def _one_text(text: Any) -> str | Pair | None:
    """The text or pair itself; None for anything that should be many of them."""
    if isinstance(text, str):
        return text
    return (text[0], text[1]) if isinstance(text, tuple) and len(text) == 2 else None


def _cache(choice: bool | str | os.PathLike[str]) -> RecordCache | None:
    if choice is False:
        return None
    return RecordCache(default_folder() if choice is True else Path(choice))
