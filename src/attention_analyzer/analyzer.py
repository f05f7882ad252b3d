"""One model, and every analysis of its attention as a method.

Each method calls the function that does the work, with every keyword written out, so that ``help()`` and editors show
them; ``tests/test_signatures.py`` keeps the two the same. That is why this file is long.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import torch
from torch import nn

from attention_analyzer.arguments import explain_arguments
from attention_analyzer.cache import RecordCache, default_folder
from attention_analyzer.captured import CapturedAttention, Origin
from attention_analyzer.deprecation import ATTRIBUTION_VALUES, renamed, renamed_arguments
from attention_analyzer.errors import InputError, check_on_error
from attention_analyzer.given_inputs import single_texts
from attention_analyzer.inputs import numbered_errors
from attention_analyzer.matrices import LIMIT, AttentionMatrices, matrices_of
from attention_analyzer.media_recording import Media, generate_media, has_images, read_media, record_media
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.models.loading import from_config, load
from attention_analyzer.patterns import PATTERNS
from attention_analyzer.record import AttentionRecord, Records
from attention_analyzer.recording import BATCH, generate, record_inputs, record_texts, stream_texts
from attention_analyzer.text.chat import ChatText, Messages, as_text, chat_text, is_messages
from attention_analyzer.text.tokenization import Pair, tokenize
from attention_analyzer.text.tokens import Tokens
from attention_analyzer.usable_texts import UsableTexts, usable_texts

if TYPE_CHECKING:
    import pandas as pd

    from attention_analyzer.attribution import AttributionComparison, TokenImportance
    from attention_analyzer.attribution.deletion import DeletionKind
    from attention_analyzer.attribution.importance import Special, Unit
    from attention_analyzer.comparison import Comparison
    from attention_analyzer.corpus import Corpus, Progress
    from attention_analyzer.diagnosis import Diagnosis
    from attention_analyzer.errors import OnError
    from attention_analyzer.heads import DepthProfile, HeadImportance, PruningCurve, Similarity
    from attention_analyzer.heads.ablation import Measure
    from attention_analyzer.inputs import Text
    from attention_analyzer.interventions import KnockOut, WhatIf
    from attention_analyzer.interventions.plan import Ablation, Replacements
    from attention_analyzer.interventions.selection import Selector
    from attention_analyzer.linguistics import Relations
    from attention_analyzer.mechanism import (
        Circuit,
        Compositions,
        ContrastDirections,
        Effects,
        HeadWrites,
        Patching,
        Why,
    )
    from attention_analyzer.mechanism.circuit import PairLike
    from attention_analyzer.mechanism.contrast import PairsOfText, TokenPairs
    from attention_analyzer.mechanism.pairs import Metric as PatchMetric
    from attention_analyzer.mechanism.patching import What
    from attention_analyzer.mechanism.target import Token
    from attention_analyzer.metrics.metric import Metric
    from attention_analyzer.parts import PartAttention
    from attention_analyzer.patterns.cache_advice import CacheAdvice
    from attention_analyzer.patterns.labels import HeadLabels
    from attention_analyzer.patterns.pattern import Pattern
    from attention_analyzer.programs.replace import ProgramReplacement
    from attention_analyzer.programs.result import HeadPrograms
    from attention_analyzer.progress import OnProgress
    from attention_analyzer.run.runner import StudyResults
    from attention_analyzer.run.study import Study
    from attention_analyzer.site import Kind
    from attention_analyzer.sources import HeadWeights, RetrievalHeads, Sources, Suppression
    from attention_analyzer.text.annotation import AnnotatedText
    from attention_analyzer.text.readers.row import Unit as TextUnit
    from attention_analyzer.text.splitters import Level


@explain_arguments
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
        processor: of images or sound; by default the checkpoint's own.
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
        processor: Any = None,
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
            processor=processor,
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
        self, text: str | Pair | Messages, *, truncate: bool = ..., check: bool = ..., batch_size: int = ...
    ) -> AttentionRecord: ...
    @overload
    def record(
        self,
        text: list[str] | list[Pair],
        *,
        truncate: bool = ...,
        check: bool = ...,
        batch_size: int = ...,
        errors: OnError = ...,
    ) -> Records: ...
    @overload
    def record(self, *, inputs: Mapping[str, Any], check: bool = ...) -> AttentionRecord | list[AttentionRecord]: ...
    @overload
    def record(self, *, messages: Messages, truncate: bool = ..., check: bool = ...) -> AttentionRecord: ...
    @overload
    def record(
        self,
        text: str | None = ...,
        *,
        image: Any = ...,
        images: Sequence[Any] | None = ...,
        audio: Any = ...,
        video: Any = ...,
        sampling_rate: int | None = ...,
        messages: Messages | None = ...,
        truncate: bool = ...,
        check: bool = ...,
    ) -> AttentionRecord: ...
    def record(
        self,
        text: str | Pair | Messages | Sequence[str | Pair] | None = None,
        *,
        image: Any = None,
        images: Sequence[Any] | None = None,
        audio: Any = None,
        video: Any = None,
        sampling_rate: int | None = None,
        inputs: Mapping[str, Any] | None = None,
        messages: Messages | None = None,
        truncate: bool = False,
        check: bool = True,
        batch_size: int = BATCH,
        errors: OnError = "raise",
    ) -> AttentionRecord | list[AttentionRecord]:
        """Run the model and keep what is needed to answer anything about its attention.

        Args:
            text: a text; a tuple of two texts (for an encoder–decoder: source and target); or a list of either, which
                gives a list of records. Beside an image or a sound it is what the model reads with it; for an
                encoder–decoder whose encoder reads no text, it is the target (generated by default).
            image: an image: a path, bytes, an open file, a PIL image or an array. Tokens then have places in it.
            images: several images of one text, in the order of the text's image marks.
            audio: a sound: a path, bytes, an open file, samples, or a pair of samples and their rate.
            video: a film: a path, an array ``[frame, row, column, 3]`` or a list of images. The record has the frames
                that the model reads, evenly chosen, as its media; tokens have places in them.
            sampling_rate: of samples that come without one, in samples per second.
            inputs: instead of text, inputs of the model's forward, such as a tokenizer's or a processor's. A batch, or
                texts packed into a row, gives a list, one record per text; padding is neither measured nor shown.
            messages: instead of text, one chat: ``[{"role": "user", "content": "Hello"}, …]``; a content may be a list
                of parts, of which some are images. A list of messages may also stand wherever a text may; :meth:`chat`
                has more options.
            truncate: cut what the model has no positions for, instead of refusing it.
            check: whether module outputs are rebuilt from the weights and compared with the model's own.
            batch_size: how many texts run together.
            errors: of a list, "raise", or "skip" to leave out texts that cannot be used; the list has their table as
                its attribute ``problems``.

        Raises:
            InputError: a text is empty or not a text.
            TooLongError: a text has more tokens than the model has positions.
            UnsupportedModelError: the model's attention cannot be represented.
            CaptureError: the weights do not reproduce the model's own outputs.
        """
        given = _media_of(
            text, image=image, images=images, audio=audio, video=video, rate=sampling_rate, messages=messages
        )
        if given is not None:
            if inputs is not None:
                raise InputError("Give images or a sound, or the inputs that a processor made of them, and not both.")
            captured, made_of = record_media(self.loaded, given, truncate=truncate, check=check)
            return self._held(captured, made_of)
        if [text, inputs, messages].count(None) != 2:
            raise InputError("Give a text, inputs=… or messages=…, and only one of them.")
        if inputs is not None:
            return self._of_inputs(inputs, check)
        if messages is not None:
            text = self.chat(messages)
        one = _one_text(text)
        if one is not None:
            return self._records([one], truncate, check, batch_size)[0]
        if isinstance(text, (bytes, tuple)) or not isinstance(text, Sequence):
            raise InputError(f"A text, a pair of texts or a list of them was expected, not {type(text).__name__}.")
        several: list[Any] = list(text)
        kept = self._usable(several, errors, truncate)
        return Records(self._records(kept.texts, truncate, check, batch_size), kept.problems)

    def chat(
        self,
        messages: Messages,
        *,
        tools: Sequence[Any] | None = None,
        documents: Sequence[Any] | None = None,
        add_generation_prompt: bool = False,
        continue_final_message: bool = False,
    ) -> ChatText:
        """A chat as the tokenizer's template writes it: a text for every method that takes one.

        It is tokenized without further special tokens, so that none of the template's is doubled.

        Args:
            messages: ``[{"role": "user", "content": "Hello"}, …]``; a content is a str or a list of text parts.
            tools: functions or their schemas, for templates that offer them to the model.
            documents: texts, or mappings such as ``{"title": "Report", "text": "…"}``, for templates that show them to
                the model.
            add_generation_prompt: end with what begins an answer.
            continue_final_message: leave the last message open, so that it can be continued.

        Raises:
            InputError: the messages are malformed or the template refuses them, or there is no template.
        """
        return chat_text(
            self.loaded.need_tokenizer(),
            messages,
            tools=tools,
            documents=documents,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=continue_final_message,
        )

    @overload
    def generate(
        self,
        prompt: str | Messages | None = ...,
        *,
        image: Any = ...,
        images: Sequence[Any] | None = ...,
        audio: Any = ...,
        video: Any = ...,
        sampling_rate: int | None = ...,
        messages: Messages | None = ...,
        max_new_tokens: int = ...,
        num_return_sequences: Literal[1] = ...,
        check: bool = ...,
        **generate_options: Any,
    ) -> AttentionRecord: ...
    @overload
    def generate(
        self,
        prompt: str | Messages | None = ...,
        *,
        messages: Messages | None = ...,
        max_new_tokens: int = ...,
        num_return_sequences: int,
        check: bool = ...,
        **generate_options: Any,
    ) -> AttentionRecord | list[AttentionRecord]: ...
    def generate(
        self,
        prompt: str | Messages | None = None,
        *,
        image: Any = None,
        images: Sequence[Any] | None = None,
        audio: Any = None,
        video: Any = None,
        sampling_rate: int | None = None,
        messages: Messages | None = None,
        max_new_tokens: int = 40,
        num_return_sequences: int = 1,
        check: bool = True,
        **generate_options: Any,
    ) -> AttentionRecord | list[AttentionRecord]:
        """Let the model generate, and record the attention over prompt and generated tokens.

        Args:
            prompt: what the model continues; for an encoder–decoder, its source.
            image, images, audio, video, sampling_rate: what the model writes about, as in :meth:`record`.
            messages: instead of a prompt, a chat to be answered; a last message of the assistant is continued.
            max_new_tokens: how many tokens are generated at most.
            num_return_sequences: how many texts are generated (with ``do_sample=True`` or ``num_beams``).
            check: whether module outputs are rebuilt from the weights and compared with the model's own.
            generate_options: further arguments of the model's ``generate`` (``do_sample``, ``temperature`` …).

        Returns:
            A record with ``notes["prompt_tokens"]`` and ``notes["written"]``, the generated text; with more than one
            sequence, a list of records in the model's own order (best beam first).

        Raises:
            ModelError: the model cannot generate.
            InputError: the model cannot generate with these options, or the messages cannot be used.
            TooLongError: prompt and answer exceed the model's positions.
        """
        given = _media_of(
            prompt, image=image, images=images, audio=audio, video=video, rate=sampling_rate, messages=messages
        )
        if given is not None:
            if num_return_sequences != 1:
                raise InputError("About images or a sound one text is generated at a time: num_return_sequences=1.")
            captured, made_of = generate_media(
                self.loaded, given, max_new_tokens=max_new_tokens, check=check, **generate_options
            )
            return self._held(captured, made_of)
        made = generate(
            self.loaded,
            prompt,
            messages=messages,
            max_new_tokens=max_new_tokens,
            num_return_sequences=num_return_sequences,
            check=check,
            **generate_options,
        )
        return [self._held(each) for each in made] if isinstance(made, list) else self._held(made)

    def heads(
        self,
        text: str | Pair | Sequence[str | Pair] | None = None,
        metrics: Sequence[Metric | str] | None = None,
        *,
        inputs: Any = None,
        truncate: bool = False,
        batch_size: int = BATCH,
        errors: OnError = "raise",
    ) -> pd.DataFrame:
        """The head table without keeping queries and keys: memory stays near that of the plain forward.

        A list of texts adds a column ``text`` with each text's number.

        Args:
            text: a text, a pair of texts, or a list of either.
            metrics: which ones; all by default.
            inputs: instead of texts, their ids: a batch such as a tokenizer returns, or a list of such mappings.
            truncate: cut what the model has no positions for, instead of refusing it.
            batch_size: how many texts run together.
            errors: of a list, "raise", or "skip" to leave out texts that cannot be used; the table's
                ``attrs["problems"]`` lists them.
        """
        import pandas as pd

        from attention_analyzer.metrics.chosen import chosen_metrics
        from attention_analyzer.metrics.head_table import evaluate, needs_of, table_of

        chosen = chosen_metrics(metrics)
        one = None if text is None else _one_text(text)
        texts = list(_given(text, inputs)) if one is None else [one]
        kept = self._usable(texts, "raise" if one is not None else errors, truncate)
        texts = kept.texts
        frames: list[pd.DataFrame] = []
        for batch in stream_texts(self.loaded, texts, needs_of(chosen), truncate=truncate, batch_size=batch_size):
            pairs = zip(batch.sites, batch.statistics, strict=True)
            values = [(site, evaluate(statistics, chosen)) for site, statistics in pairs]
            for index in range(len(batch.tokens)):
                frame = table_of(values, index)
                if one is None:
                    frame.insert(0, "text", kept.indices[len(frames)])
                frames.append(frame)
        if not frames:
            raise InputError("No texts were given; at least one is needed.")
        table = pd.concat(frames, ignore_index=True)
        if len(kept.problems):
            table.attrs["problems"] = kept.problems.to_dict("records")
        return table

    def diagnose(
        self,
        text: str | None = None,
        *,
        inputs: Mapping[str, Any] | None = None,
        image: Any = None,
        images: Sequence[Any] | None = None,
        audio: Any = None,
        video: Any = None,
        sampling_rate: int | None = None,
    ) -> Diagnosis:
        """What the model was taken out of, how its attention is captured and why so, and whether that holds.

        See :func:`.diagnosis.diagnose`.

        Raises:
            UnsupportedModelError: the model has no attention that can be shown; the message says what it does instead.
        """
        from attention_analyzer.diagnosis import diagnose

        media = _media_of(text, image=image, images=images, audio=audio, video=video, rate=sampling_rate, messages=None)
        return diagnose(self.loaded, text if media is None else None, inputs=inputs, media=media)

    # The interface of the specification

    def get_attention_patterns(
        self, text: str | Pair, *, truncate: bool = False, max_bytes: int = LIMIT
    ) -> AttentionMatrices:
        """Whole attention matrices: one tensor ``[1, head, query, key]`` per layer, and ``.as_dict()`` by site name.

        Raises:
            TooLongError: they would take more than ``max_bytes``.
        """
        if _one_text(text) is None:
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

    @renamed_arguments(values=ATTRIBUTION_VALUES)
    def get_token_importance(
        self,
        text: str | Pair,
        method: str = "received",
        *,
        target: str | None = None,
        unit: Unit = "token",
        special: Special = "keep",
        truncate: bool = False,
    ) -> list[tuple[str, float]]:
        """How important each token is, as ``(token, score)`` in the order of the text; scores sum to one.

        Args:
            method: one of :data:`.attribution.ATTRIBUTIONS`. "received", the default, is how much attention a token
                gets: a description, not a claim about what moved the output.
            target, unit, special, truncate: as in :meth:`token_importance`.

        Raises:
            InputError, TooLongError: the text or an option cannot be used.
            SelectionError: there is no such method, or no such target in this text.
            UnsupportedModelError: the method needs something that this model does not show.
        """
        importance = self.token_importance(text, method, target=target, unit=unit, special=special, truncate=truncate)
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
        errors: OnError = "raise",
        engine: Literal["local", "ray"] = "local",
        workers: int | None = None,
        address: str | None = None,
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
            engine: "local", or "ray" for a cluster; the results are the same.
            workers: with Ray, how many; by default one for every four cores, or for every GPU if the model is on one.
            address: of a running Ray cluster; "auto" finds it.
            progress: called with how many texts are done and how many there are.

        Returns:
            The results in the order of the studies, with ``problems``: ``index, text, reason`` of texts left out.

        Raises:
            InputError: no list of texts or no study was given, a text cannot be used, or the store is of another run.
            MissingDependencyError: Ray is not installed.
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
            engine=engine,
            workers=workers,
            address=address,
            progress=progress,
        )
        pairs = zip(studies, learned.states, strict=True)
        return StudyResults(tuple(study.result(self.loaded, state) for study, state in pairs), learned.problems)

    def label_heads(
        self,
        texts: Sequence[str | Pair] | None = None,
        *,
        inputs: Any = None,
        patterns: Sequence[Pattern] = PATTERNS,
        level: float = 0.05,
        thresholds: Mapping[str, float] | None = None,
        probes: bool = True,
        untrained: bool = False,
        truncate: bool = False,
        batch_size: int = BATCH,
        seed: int = 0,
        errors: OnError = "raise",
        store: str | os.PathLike[str] | None = None,
        progress: OnProgress | None = None,
    ) -> HeadLabels:
        """Which heads show which pattern, with intervals, controls and correction for testing all of them.

        Args:
            texts: at least three, better twenty: intervals and tests are over the texts.
            inputs: instead of texts, their ids: a batch such as a tokenizer returns, or a list of such mappings.
            patterns: which ones; all by default.
            level: the false discovery rate that is accepted.
            thresholds: other thresholds than the patterns' own, by name.
            probes: whether induction, duplicate tokens and retrieval are measured on random tokens as well.
            untrained: also compare with the same architecture with random weights.
            truncate: cut what the model has no positions for, instead of refusing it.
            batch_size: how many texts run together.
            seed: of the random tokens and weights.
            errors: "raise", or "skip" to leave out texts that cannot be used and list them in ``problems``.
            store: a folder that keeps what was measured; the same call resumes there after an interruption.
            progress: called with the number of steps done and of all.

        Raises:
            InputError: fewer than three texts, an option cannot be used, or the store is of another run.
        """
        from attention_analyzer.patterns.labels import label_heads

        return label_heads(
            self.loaded,
            _given(texts, inputs),
            patterns=patterns,
            level=level,
            thresholds=thresholds,
            probes=probes,
            untrained=untrained,
            truncate=truncate,
            batch_size=batch_size,
            seed=seed,
            errors=errors,
            store=store,
            progress=progress,
        )

    patterns = renamed(label_heads, "patterns")

    def programs(
        self,
        texts: Sequence[str | Pair],
        *,
        untrained: bool = False,
        truncate: bool = False,
        batch_size: int = BATCH,
        seed: int = 0,
        errors: OnError = "raise",
        store: str | os.PathLike[str] | None = None,
        progress: OnProgress | None = None,
    ) -> HeadPrograms:
        """What every head does, in a sentence, and how much of its weight the sentence explains.

        >>> analyzer.programs(texts).sentence(0, 2)
        'looks at the token before (97%); 3% unexplained'

        Args:
            texts: at least six, better a hundred: every second one is fitted on, the others are scored on.
            untrained: also fit programs to the same architecture with random weights, as a control.
            truncate: cut what the model has no positions for.
            batch_size: how many texts run together.
            seed: of the controls.
            errors: "raise", or "skip" to leave out texts that cannot be used and list them in ``problems``.
            store: a folder that keeps what was measured; the same call resumes there after an interruption.
            progress: called with how many texts are done and how many there are.

        Raises:
            InputError: fewer than six texts, or the store is of another run.
            UnsupportedModelError: heads of one layer see different keys.
        """
        from attention_analyzer.programs.find import programs

        return programs(
            self.loaded,
            texts,
            untrained=untrained,
            truncate=truncate,
            batch_size=batch_size,
            seed=seed,
            errors=errors,
            store=store,
            progress=progress,
        )

    def atlas(
        self,
        texts: Sequence[str | Pair] | str | os.PathLike[str],
        folder: str | os.PathLike[str],
        *,
        other: AttentionAnalyzer | None = None,
        seed: int = 0,
        truncate: bool = False,
        errors: OnError = "raise",
        progress: OnProgress | None = None,
    ) -> Path:
        """Write a folder of static pages of all heads: a map with search, and a page and a JSON for each head.

        Args:
            texts: at least six, better hundreds; or the folder of a store that this model has scanned.
            folder: made if it is not there.
            other: a second model on the same texts, side by side; heads that correspond are linked.
            seed: of controls and probes.
            truncate: cut what a model has no positions for.
            errors: "raise", or "skip" to leave out texts that cannot be used and list them in ``problems``.
            progress: called with the number of texts done and of all.

        Returns:
            The first page, which any browser opens without a server or a network.

        Raises:
            InputError: too few texts, the store is another model's, or the folder cannot be written.
        """
        from attention_analyzer.atlas import store_texts, write_atlas

        chosen = store_texts(os.fspath(texts), self.loaded) if isinstance(texts, (str, os.PathLike)) else list(texts)
        return write_atlas(
            self.loaded,
            chosen,
            os.fspath(folder),
            other=None if other is None else other.loaded,
            seed=seed,
            truncate=truncate,
            errors=errors,
            progress=progress,
        )

    def replace_by_program(
        self,
        programs: HeadPrograms,
        texts: Sequence[str | Pair],
        heads: Selector | Iterable[Selector] | None = None,
        *,
        shares: Sequence[float] = (0.1, 0.25, 0.5, 0.75, 1.0),
        seed: int = 0,
        truncate: bool = False,
        batch_size: int = BATCH,
        errors: OnError = "raise",
        progress: OnProgress | None = None,
    ) -> ProgramReplacement:
        """Replace heads' own weights by what their programs say, and measure what becomes of the predictions.

        >>> analyzer.replace_by_program(programs, other_texts, "L1H2")  # one head
        >>> analyzer.replace_by_program(programs, other_texts).plot()  # growing shares of all heads

        Args:
            programs: what :meth:`programs` found for this model.
            texts: at least two, best others than the programs were fitted on.
            heads: these only, all at once, such as ``["L0", "L2H5"]``; by default growing shares of all heads, those
                that programs explain best first.
            shares: fractions of all heads, above 0 and at most 1.
            seed: of the exchanged programs and of the tokens that a masked language model has to guess.
            truncate: cut what the model has no positions for.
            batch_size: how many texts run together.
            errors: "raise", or "skip" to leave out texts that cannot be used and list them in ``problems``.
            progress: called with the number of steps done and of all.

        Raises:
            InputError: the programs are of another model, a fraction lies outside, or there are too few texts.
            SelectionError: a head is not there.
            UnsupportedModelError: the attention cannot be altered.
        """
        from attention_analyzer.programs.replace import replace_by_program

        return replace_by_program(
            self.loaded,
            programs,
            texts,
            heads,
            shares=shares,
            seed=seed,
            truncate=truncate,
            batch_size=batch_size,
            errors=errors,
            progress=progress,
        )

    def cache_advice(
        self,
        texts: Sequence[str | Pair] | None = None,
        *,
        inputs: Any = None,
        first: Sequence[int] = (1, 4, 16),
        last: Sequence[int] = (16, 64, 256),
        share: float = 0.95,
        truncate: bool = False,
        seed: int = 0,
        errors: OnError = "raise",
        store: str | os.PathLike[str] | None = None,
        progress: OnProgress | None = None,
    ) -> CacheAdvice:
        """What each head of a decoder needs of the KV cache: all of it, or the first and last keys.

        Args:
            texts: at least three, longer than the smallest cache.
            inputs: instead of texts, their ids: a batch such as a tokenizer returns, or a list of such mappings.
            first, last: numbers of first and last keys to try, in all combinations.
            share: the fraction of the attention weight that a head's cache must retain.
            truncate: cut what the model has no positions for, instead of refusing it.
            seed: of the random tokens that retrieval is measured on.
            errors: "raise", or "skip" to leave out texts that cannot be used and list them in ``problems``.
            store: a folder that keeps what was measured; the same call resumes there after an interruption.
            progress: called with the number of steps done and of all.

        Raises:
            InputError: fewer than three texts are longer than the smallest cache, a size is below one, or
                the store is of another run.
            UnsupportedModelError: the model is no decoder.
        """
        from attention_analyzer.patterns.cache_advice import cache_advice

        return cache_advice(
            self.loaded,
            _given(texts, inputs),
            first=first,
            last=last,
            share=share,
            truncate=truncate,
            seed=seed,
            errors=errors,
            store=store,
            progress=progress,
        )

    # Importance of tokens

    @renamed_arguments(values=ATTRIBUTION_VALUES)
    def token_importance(
        self,
        text: str | Pair | Messages | None = None,
        method: str = "received",
        *,
        image: Any = None,
        images: Sequence[Any] | None = None,
        audio: Any = None,
        video: Any = None,
        sampling_rate: int | None = None,
        target: str | None = None,
        unit: Unit = "token",
        special: Special = "keep",
        truncate: bool = False,
    ) -> TokenImportance:
        """How important each token is, with its table and figure.

        Args:
            text: a text or a pair; for an encoder–decoder source and target, or a source alone, whose target the model
                generates. It is the source whose tokens are scored.
            image, images, audio, video, sampling_rate: as in :meth:`record`; then cells of the images, or stretches of
                the sound, are scored, and the text is what :meth:`record` takes beside them.
            method: one of :data:`attention_analyzer.attribution.ATTRIBUTIONS`.
            target: the prediction that is explained; by default the one that the model was made for. See
                :data:`attention_analyzer.attribution.TARGETS` for how it is written.
            unit: "token" for one score per token, "word" for the sum over each word.
            special: what becomes of special tokens: "keep", "apart" (scored, but not part of the sum) or "exclude".
            truncate: cut what the model has no positions for, instead of refusing it.

        Raises:
            InputError, TooLongError: the text or an option cannot be used.
            SelectionError: there is no such method, or no such target in this text.
            UnsupportedModelError: the method needs something that this model does not show.
        """
        from attention_analyzer.attribution import token_importance

        asked = _asked_of(text, image=image, images=images, audio=audio, video=video, rate=sampling_rate)
        return token_importance(
            self.loaded, asked, method=method, target=target, unit=unit, special=special, truncate=truncate
        )

    @renamed_arguments(values=ATTRIBUTION_VALUES)
    def compare_attributions(
        self,
        text: str | Pair | Messages | None = None,
        *,
        image: Any = None,
        images: Sequence[Any] | None = None,
        audio: Any = None,
        video: Any = None,
        sampling_rate: int | None = None,
        methods: Sequence[str] | None = None,
        target: str | None = None,
        unit: Unit = "token",
        special: Special = "exclude",
        deletion: DeletionKind | None = None,
        seeds: int = 40,
        seed: int = 0,
        truncate: bool = False,
        progress: OnProgress | None = None,
    ) -> AttributionComparison:
        """Several methods on one text, each tested by deleting the tokens that it ranks first.

        Args:
            text, image, images, audio, video, sampling_rate: as for :meth:`token_importance`.
            methods: names in :data:`attention_analyzer.attribution.ATTRIBUTIONS`; by default one of each kind that
                this model and the length of the text allow.
            target: the prediction that is explained, as for :meth:`token_importance`.
            unit: whether tokens ("token") or words are scored and deleted.
            special: what becomes of special tokens in the scores. They are never deleted.
            deletion: one of :data:`attention_analyzer.attribution.DELETIONS`; by default "mask" if the tokenizer has a
                mask token, else "hide"; of cells "mean" for images and "silence" for a sound.
            seeds: the number of random orders to compare with.
            seed: of the first random order.
            truncate: cut what the model has no positions for, instead of refusing it.
            progress: called with the number of steps done and of all.

        Raises:
            InputError, TooLongError: the text or an option cannot be used.
            SelectionError: there is no such method, or no such target in this text.
            UnsupportedModelError, MissingDependencyError: a method named in ``methods`` is not available.
        """
        from attention_analyzer.attribution import compare_attributions

        asked = _asked_of(text, image=image, images=images, audio=audio, video=video, rate=sampling_rate)
        return compare_attributions(
            self.loaded,
            asked,
            methods=methods,
            target=target,
            unit=unit,
            special=special,
            deletion=deletion,
            seeds=seeds,
            seed=seed,
            truncate=truncate,
            progress=progress,
        )

    # Heads

    def depth_profile(
        self,
        texts: Sequence[str | Pair] | Iterable[AnnotatedText] | None = None,
        *,
        inputs: Any = None,
        metrics: Sequence[Metric | str] | None = None,
        truncate: bool = False,
        batch_size: int = BATCH,
        errors: OnError = "raise",
        store: str | os.PathLike[str] | None = None,
        progress: OnProgress | None = None,
    ) -> DepthProfile:
        """Every metric by depth, and where each layer's weight goes.

        Args:
            texts: texts, or sentences annotated with dependencies, which adds the weight along the syntax and what
                distances alone explain of it.
            inputs: instead of texts, their ids: a batch such as a tokenizer returns, or a list of such mappings.
            metrics: all of :data:`attention_analyzer.metrics.METRICS` by default.
            truncate: cut what the model has no positions for, instead of refusing it.
            batch_size: how many texts run together.
            errors: "raise", or "skip" to leave out texts that cannot be used and list them in ``problems``.
            store: a folder that keeps what was measured; the same call resumes there after an interruption.
            progress: called with the number of texts done and of all.

        Raises:
            InputError: there are no texts, only some of them are annotated, or the store is of another run.
        """
        from attention_analyzer.heads import depth_profile

        return depth_profile(
            self.loaded,
            _given(texts, inputs),
            metrics=metrics,
            truncate=truncate,
            batch_size=batch_size,
            errors=errors,
            store=store,
            progress=progress,
        )

    specialisation = renamed(depth_profile, "specialisation")

    def similarity(
        self,
        texts: Sequence[str | Pair] | None = None,
        *,
        inputs: Any = None,
        stack: str | None = None,
        kind: Kind | None = None,
        clusters: int | None = None,
        redundant: float = 0.2,
        seed: int = 0,
        truncate: bool = False,
        batch_size: int = BATCH,
        errors: OnError = "raise",
        store: str | os.PathLike[str] | None = None,
        progress: OnProgress | None = None,
    ) -> Similarity:
        """How similar the heads' attention is: clusters, a map, redundant groups, complementary pairs, outliers.

        Args:
            texts: at least three; intervals and stability are over them.
            inputs: instead of texts, their ids: a batch such as a tokenizer returns, or a list of such mappings.
            stack, kind: of the heads that are compared; the main text's own attention by default.
            clusters: the number of clusters; chosen by silhouette by default.
            redundant: the distance below which heads are redundant.
            seed: of the resampling.
            truncate: cut what the model has no positions for, instead of refusing it.
            batch_size: how many texts run together.
            errors: "raise", or "skip" to leave out texts that cannot be used and list them in ``problems``.
            store: a folder that keeps what was measured; the same call resumes there after an interruption.
            progress: called with the number of texts done and of all.

        Raises:
            InputError: fewer than three texts or heads, or the store is of another run.
            MissingDependencyError: scikit-learn is not installed.
        """
        from attention_analyzer.heads import similarity

        return similarity(
            self.loaded,
            _given(texts, inputs),
            stack=stack,
            kind=kind,
            clusters=clusters,
            redundant=redundant,
            seed=seed,
            truncate=truncate,
            batch_size=batch_size,
            errors=errors,
            store=store,
            progress=progress,
        )

    @renamed_arguments(names={"silence_with": "ablation"}, values={"method": {"silence": "ablation"}})
    def head_importance(
        self,
        texts: Sequence[str | Pair] | None = None,
        method: Literal["gradient", "ablation"] = "gradient",
        *,
        inputs: Any = None,
        heads: Iterable[Selector] | None = None,
        measure: Measure = "loss",
        ablation: Ablation = "zero",
        reference: Sequence[str | Pair] = (),
        labels: Sequence[int | str] | None = None,
        seed: int = 0,
        truncate: bool = False,
        batch_size: int = BATCH,
        errors: OnError = "raise",
        progress: OnProgress | None = None,
    ) -> HeadImportance:
        """How much the model needs each head, or each set of heads.

        Args:
            texts: pairs of source and target for an encoder–decoder; the more, the narrower the intervals.
            inputs: instead of texts, their ids: a batch such as a tokenizer returns, or a list of such mappings.
            method: "gradient" (of the loss, by a factor on the head) or "ablation" (what changes without the head).
            heads: sets to be ablated, one per selector (``"L2H5"``, ``"L4H2-3"``, ``"L2"``); every head by default.
            measure: by ablation: "loss", "logits" (KL divergence of the predictions), or a function
                ``metric(outputs, inputs)`` that returns one number per text of a batch.
            ablation: "zero", or "mean": the head's mean output over the tokens of ``reference``.
            reference: texts of the mean output; ``texts`` by default.
            labels: a classifier's classes, one per text.
            seed: of the tokens that a masked language model has to guess.
            truncate: cut what the model has no positions for, instead of refusing it.
            batch_size: how many texts run together.
            errors: "raise", or "skip" to leave out texts that cannot be used and list them in ``problems``.
            progress: called with the number of steps done and of all.

        Raises:
            InputError, SelectionError: an argument cannot be used.
            UnsupportedModelError: the attention cannot be altered, or by gradient, the model has no loss.
        """
        from attention_analyzer.heads import head_importance

        return head_importance(
            self.loaded,
            _given(texts, inputs),
            method,
            heads=heads,
            measure=measure,
            ablation=ablation,
            reference=reference,
            labels=labels,
            seed=seed,
            truncate=truncate,
            batch_size=batch_size,
            errors=errors,
            progress=progress,
        )

    @renamed_arguments(names={"silence_with": "ablation"}, values={"method": {"silence": "ablation"}})
    def pruning_curve(
        self,
        texts: Sequence[str | Pair] | None = None,
        method: Literal["gradient", "ablation"] = "gradient",
        *,
        inputs: Any = None,
        shares: Sequence[float] = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
        measure: Measure = "loss",
        ablation: Ablation = "zero",
        held_out: bool = True,
        labels: Sequence[int | str] | None = None,
        seed: int = 0,
        truncate: bool = False,
        batch_size: int = BATCH,
        errors: OnError = "raise",
        progress: OnProgress | None = None,
    ) -> PruningCurve:
        """The measure while more and more heads are ablated, in order of importance and in random orders.

        Args:
            texts: every second one finds the order, the others are what the curve is measured on.
            inputs: instead of texts, their ids: a batch such as a tokenizer returns, or a list of such mappings.
            method: how importance is measured; see :meth:`head_importance`.
            shares: fractions of all heads, in [0, 1].
            measure: "loss", "logits" or a function, as for :meth:`head_importance`.
            ablation: "zero" or "mean".
            held_out: False uses all texts for both.
            labels: a classifier's classes, one per text.
            seed: of the random orders and of the tokens that a masked language model has to guess.
            truncate: cut what the model has no positions for, instead of refusing it.
            batch_size: how many texts run together.
            errors: "raise", or "skip" to leave out texts that cannot be used and list them in ``problems``.
            progress: called with the number of steps done and of all.

        Raises:
            InputError: fewer than two texts (four if half are held out), or a fraction outside [0, 1].
            UnsupportedModelError: the attention cannot be altered, or by gradient, the model has no loss.
        """
        from attention_analyzer.heads import pruning_curve

        return pruning_curve(
            self.loaded,
            _given(texts, inputs),
            method,
            shares=shares,
            measure=measure,
            ablation=ablation,
            held_out=held_out,
            labels=labels,
            seed=seed,
            truncate=truncate,
            batch_size=batch_size,
            errors=errors,
            progress=progress,
        )

    # Interventions

    @renamed_arguments(names={"silence": "ablate", "silence_with": "ablation", "replace": "patch"})
    def what_if(
        self,
        text: str | Pair | None = None,
        *,
        inputs: Mapping[str, Any] | None = None,
        knock_out: str | KnockOut | Iterable[str | KnockOut] = (),
        ablate: Selector | Iterable[Selector] = (),
        patch: Replacements | None = None,
        ablation: Ablation = "zero",
        reference: Sequence[str | Pair] = (),
        target: str | int | None = None,
        position: int | None = None,
        truncate: bool = False,
    ) -> WhatIf:
        """The prediction before and after the attention of some heads is changed. The model is not written to.

        >>> analyzer.what_if("The cat sat on the", ablate="L2H5").table

        Args:
            text: a text or a pair; for an encoder–decoder a source, or source and target.
            inputs: instead of text, inputs of the forward for one text, image or sound.
            knock_out: edges such as ``"L2H5:7>3"``: query 7 may not attend to key 3. Parts may be named, too:
                ``"answer>document 2"`` in all heads, ``"L2:sentence 3>sentence 1"`` in a layer.
            ablate: heads such as ``"L2H5"`` whose output is replaced for every query, by zero or its mean.
            patch: the pattern that a head uses instead of its own, by head: ``"uniform"``, ``"first"``, a text of
                the same length or a record of one, or weights ``[query, key]``.
            ablation: "zero" or "mean".
            reference: texts over whose tokens the mean is taken; the text itself by default.
            target: the label whose probability is followed: a token, a class name or a number; by default the most
                probable one before the change.
            position: of the prediction; by default the last token of a decoder, the first mask of a masked language
                model, and otherwise where the distribution changes most.
            truncate: cut what the model has no positions for, instead of refusing it.

        Raises:
            InputError, SelectionError: an argument cannot be used, or a head, position or label does not exist.
            UnsupportedModelError: the model's attention can be captured but not altered.
        """
        from attention_analyzer.interventions import what_if

        return what_if(
            self.loaded,
            text,
            inputs=inputs,
            knock_out=knock_out,
            ablate=ablate,
            patch=patch,
            ablation=ablation,
            reference=reference,
            target=target,
            position=position,
            truncate=truncate,
        )

    # Mechanism

    def effects(
        self,
        text: str | Pair,
        *,
        target: Token | None = None,
        versus: Token | None = None,
        position: int | None = None,
        truncate: bool = False,
    ) -> Effects:
        """What each head, source token, MLP, embedding and bias adds to a logit directly. The parts sum to the logit.

        >>> analyzer.effects("The cat sat on the mat. The cat", target="sat", versus="was").heads()

        Args:
            text: a text; a pair of texts, or source and target of an encoder–decoder.
            target: the token whose logit is explained, as text or number; by default the most probable one.
            versus: a token whose logit is subtracted, so that only what tells the two apart is left.
            position: where the prediction is read; by default at the last token, or at the mask.
            truncate: cut what the model has no positions for, instead of refusing it.

        Raises:
            InputError: a target that is not one token; SelectionError: there is no such position.
            UnsupportedModelError: the model has no language-model head, or its residual stream cannot be followed.
            CaptureError: the effects do not sum to the logit.
        """
        from attention_analyzer.mechanism.effects import effects

        return effects(self.loaded, text, target=target, versus=versus, position=position, truncate=truncate)

    def why(
        self,
        text: str | Pair,
        layer: int,
        head: int,
        query: int,
        key: int,
        *,
        stack: str | None = None,
        kind: Kind = "self",
        truncate: bool = False,
    ) -> Why:
        """Why a head looks from one token at another: its score as a table [query component × key component].

        >>> analyzer.why("Tom saw a red bird. Sue saw a red", 2, 3, query=-1, key=6).to_frame()

        Args:
            text: a text or a pair.
            layer, head: which head, counted from zero.
            query, key: positions of the two tokens; negative ones count from the end.
            stack, kind: of the head's attention where layers are not unique.
            truncate: cut what the model has no positions for, instead of refusing it.

        Raises:
            SelectionError: there is no such head or position, or the query may not attend to the key.
            UnsupportedModelError: the head computes its attention outside of the library's interface.
            CaptureError: the cells do not sum to the score.
        """
        from attention_analyzer.mechanism.why import why

        return why(self.loaded, text, layer, head, query, key, stack=stack, kind=kind, truncate=truncate)

    def writes(
        self,
        text: str | Pair,
        layer: int,
        head: int,
        *,
        position: int | None = None,
        top: int = 5,
        stack: str | None = None,
        kind: Kind = "self",
        truncate: bool = False,
    ) -> HeadWrites:
        """The tokens that a head promotes for each token of a text, if it reads that token alone; how much it copies.

        >>> analyzer.writes("Tom saw a red bird. Sue saw a red", 4, 2)

        Args:
            text: a text or a pair.
            layer, head: which head, counted from zero.
            position: where the prediction is read; by default at the last token, or at the mask.
            top: how many promoted and suppressed tokens are named.
            stack, kind: of the head's attention where layers are not unique.
            truncate: cut what the model has no positions for, instead of refusing it.

        Raises:
            SelectionError: there is no such head or position.
            UnsupportedModelError: the model has no language-model head, or the head has no direct path to it.
        """
        from attention_analyzer.mechanism.writes import writes

        return writes(
            self.loaded, text, layer, head, position=position, top=top, stack=stack, kind=kind, truncate=truncate
        )

    def compositions(
        self, *, into: Selector | None = None, seed: int = 0, progress: OnProgress | None = None
    ) -> Compositions:
        """How strongly what each head writes meets what later heads read, from the weights alone.

        >>> analyzer.compositions(into="L4H2").to_frame()

        Args:
            into: only what this head (or the heads of this layer) reads.
            seed: of the random baselines.
            progress: called with how many layers are done and how many there are.

        Raises:
            SelectionError: there is no such head; InputError: it is in the first layer.
            UnsupportedModelError: the layers or the projections of the model cannot be followed.
        """
        from attention_analyzer.mechanism.compositions import compositions

        return compositions(self.loaded, into=into, seed=seed, progress=progress)

    def contrast(
        self,
        texts: Sequence[Text],
        pairs: Sequence[PairsOfText] | Callable[[Tokens], TokenPairs],
        layer: int,
        head: int,
        *,
        directions: int = 3,
        controls: int = 20,
        stack: str | None = None,
        seed: int = 0,
        truncate: bool = False,
        errors: OnError = "raise",
        progress: OnProgress | None = None,
    ) -> ContrastDirections:
        """The directions by which a head tells chosen pairs of tokens from others, each checked by removing it.

        >>> analyzer.contrast(texts, lambda tokens: [(at, at - 1) for at in range(1, len(tokens))], 1, 4)

        Args:
            texts: at least four; every second one is held out.
            pairs: for each text, ``(query, key)`` positions of tokens, or a function of a text's tokens that returns
                them; or one function for all texts. :func:`attention_analyzer.mechanism.token_pairs` makes one of an
                annotated text.
            layer, head: which head, counted from zero.
            directions: how many.
            controls: how many random directions are removed for comparison.
            stack: of the head where layers are not unique.
            seed: of the random directions.
            truncate: cut what the model has no positions for, instead of refusing it.
            errors: "raise", or "skip" to leave out texts that cannot be used and list them in ``problems``.
            progress: called with how many texts are read and how many there are.

        Raises:
            InputError: too few texts with pairs, or a pair outside of its text.
            SelectionError: there is no such head.
            UnsupportedModelError: the head's queries cannot be seen.
        """
        from attention_analyzer.mechanism.contrast import contrast

        return contrast(
            self.loaded,
            texts,
            pairs,
            layer,
            head,
            directions=directions,
            controls=controls,
            stack=stack,
            seed=seed,
            truncate=truncate,
            errors=errors,
            progress=progress,
        )

    def patch(
        self,
        clean: Text,
        corrupted: Text,
        metric: PatchMetric | None = None,
        *,
        what: What = "heads",
        into: Selector | None = None,
        approximate: bool = False,
        sample: int = 8,
        target: Token | None = None,
        versus: Token | None = None,
        position: int | None = None,
        seed: int = 0,
        truncate: bool = False,
        progress: OnProgress | None = None,
    ) -> Patching:
        """Put activations of a clean run into a corrupted one, one at a time, and measure what comes back.

        >>> analyzer.patch("Tom saw a red dog. Tom saw a red", "Tom saw a big dog. Tom saw a red", target="dog")

        Args:
            clean, corrupted: two texts of the same number of tokens.
            metric: a function of logits ``[position, vocabulary]`` that returns one number; by default the logit of
                ``target`` less that of ``versus``.
            what: "heads" (what a head writes), "queries", "keys" or "values" (what it reads by; grouped heads share
                keys and values), "mlps" (what a layer's MLP writes at one position), or "residual" (what enters a layer
                at one position).
            into: only along the path into one head, such as "L4H2": with "heads", through all of its inputs; with
                "queries", "keys" or "values", through that one. "logits": only along the path past all later heads.
            approximate: estimate all heads by gradients, and patch only a sample exactly.
            sample: how many heads that sample has.
            target, versus: tokens; by default the most probable ones after the clean and the corrupted text.
            position: where the prediction is read; by default the last token, or the mask.
            seed: of the sample.
            truncate: cut what the model has no positions for.
            progress: called with how many patches are done and how many there are.

        Raises:
            InputError: the texts have different numbers of tokens, or the metric is no number.
            SelectionError: there is no such head.
            UnsupportedModelError: the attention is computed outside of the library's interface.
            CaptureError: the metric is NaN.
        """
        from attention_analyzer.mechanism.patching import patch

        return patch(
            self.loaded,
            clean,
            corrupted,
            metric,
            what=what,
            into=into,
            approximate=approximate,
            sample=sample,
            target=target,
            versus=versus,
            position=position,
            seed=seed,
            truncate=truncate,
            progress=progress,
        )

    def circuit(
        self,
        pairs: Sequence[PairLike],
        metric: PatchMetric | None = None,
        *,
        faithfulness: float = 0.8,
        controls: int = 20,
        seed: int = 0,
        truncate: bool = False,
        errors: OnError = "raise",
        progress: OnProgress | None = None,
    ) -> Circuit:
        """A small set of heads that does what the model does on pairs of texts, with held-out figures and controls.

        Args:
            pairs: at least six of ``(clean, corrupted)`` or ``(clean, corrupted, target, versus)``; each two of
                the same number of tokens. Every second pair is used to find the circuit, the others to measure it.
            metric: a function of logits ``[position, vocabulary]`` that returns one number; by default the logit of the
                target less that of the other token.
            faithfulness: how much of the metric the circuit must keep on the pairs that it is found on, in (0, 1].
            controls: how many random sets of heads of the same size are measured.
            seed: of the controls and of the intervals.
            truncate: cut what the model has no positions for.
            errors: "raise", or "skip" to leave out pairs that cannot be used and list them in ``problems``.
            progress: called with how many sets of heads are measured and how many at most.

        Raises:
            InputError: too few pairs, a pair of different lengths, or a metric that heads do not change.
            UnsupportedModelError: the attention is computed outside of the library's interface.
        """
        from attention_analyzer.mechanism.circuit import circuit

        return circuit(
            self.loaded,
            pairs,
            metric,
            faithfulness=faithfulness,
            controls=controls,
            seed=seed,
            truncate=truncate,
            errors=errors,
            progress=progress,
        )

    def compare(
        self,
        other: Any = None,
        *,
        texts: str | Pair | Sequence[str | Pair],
        other_texts: str | Pair | Sequence[str | Pair] | None = None,
        match: Literal["auto", "index", "assignment"] = "auto",
        truncate: bool = False,
        errors: OnError = "raise",
        progress: OnProgress | None = None,
    ) -> Comparison:
        """Where another model's attention, or this one's on other texts, differs.

        Args:
            other: an analyzer, a name, a folder or ``(model, tokenizer)``; without it, the same model.
            texts: what both read. Several texts give intervals.
            other_texts: what the other model reads instead, one for each of ``texts``.
            match: how heads are paired: by their numbers ("index") or by their attention ("assignment").
            truncate: cut what a model has no positions for, instead of refusing it.
            errors: "raise", or "skip" to leave out texts that cannot be used and list them in ``problems``.
            progress: called with the number of texts done and of all.

        Raises:
            InputError: no texts, other texts of another number, or texts that have no word in common.
            ModelError: the other model cannot be loaded.
        """
        from attention_analyzer.comparison import compare

        return compare(
            self,
            other,
            texts=texts,
            other_texts=other_texts,
            match=match,
            truncate=truncate,
            errors=errors,
            progress=progress,
        )

    # Parts

    def between(
        self, text: str | Pair | Messages, level: Level | None = None, *, truncate: bool = False, check: bool = True
    ) -> PartAttention:
        """How much the tokens of each part attend to each part, measured inside the forward.

        The same as :meth:`.AttentionRecord.between`, but queries and keys are not kept, so that texts may be very long.

        Args:
            text: a text, a pair or a chat; of an encoder–decoder's, the target's self-attention is measured.
            level: as for :meth:`.AttentionRecord.parts`.
            truncate: cut what the model has no positions for, instead of refusing it.
            check: whether module outputs are rebuilt from the weights and compared with the model's own.

        Raises:
            InputError: the text has no such parts, or more than fit.
            TooLongError: the text has more tokens than the model has positions.
        """
        from attention_analyzer.parts.streaming import stream_between

        return stream_between(self.loaded, text, level, truncate=truncate, check=check)

    def sources(
        self,
        prompt: str | Messages | None = None,
        *,
        messages: Messages | None = None,
        documents: Sequence[Any] | None = None,
        answer: str | None = None,
        parts: Level | None = None,
        methods: Sequence[str] | None = None,
        removals: int = 64,
        max_new_tokens: int = 64,
        seed: int = 0,
        progress: OnProgress | None = None,
    ) -> Sources:
        """Which documents, turns or sentences of a prompt an answer rests on, by five methods that are judged on it.

        >>> analyzer.sources(messages=[{"role": "user", "content": "Who is at home?"}], documents=["Ada is at home."])

        Args:
            prompt: a text, or messages. Of a text, the parts are its sentences unless something else is said.
            messages: a chat; a last message of the assistant is taken as its answer. The parts are its documents,
                turns and thoughts before the last turn of the user.
            documents: for the chat's template; or, of a text, documents that stand in it.
            answer: what is explained; by default the model answers, greedily.
            parts: another level, or parts of your own; see :meth:`.AttentionRecord.parts`.
            methods: some of :data:`attention_analyzer.sources.METHODS`; by default all that are possible.
            removals: how many random removals are measured: half to fit the surrogate, half to judge all methods. With
                0, nothing is judged.
            max_new_tokens: of the model's own answer.
            seed: of the random removals.
            progress: called with the number of steps done and of all.

        Raises:
            InputError: prompt, documents, parts, answer or methods cannot be used.
            TooLongError: prompt and answer exceed the model's positions.
            UnsupportedModelError: the model does not continue texts.
            MissingDependencyError: scikit-learn is not installed, which the surrogate needs.
        """
        from attention_analyzer.sources import sources

        return sources(
            self.loaded,
            prompt,
            messages=messages,
            documents=documents,
            answer=answer,
            parts=parts,
            methods=methods,
            removals=removals,
            max_new_tokens=max_new_tokens,
            seed=seed,
            cache=None if self.cache is None else self.cache.folder,
            progress=progress,
        )

    def retrieval_heads(
        self,
        prompt: str | Messages | None = None,
        *,
        messages: Messages | None = None,
        documents: Sequence[Any] | None = None,
        answer: str | None = None,
        parts: Level | None = None,
        shuffles: int = 1000,
        max_new_tokens: int = 64,
        seed: int = 0,
    ) -> RetrievalHeads:
        """Which heads copied this answer: those that attend to the very token of the prompt that is written next.

        Args:
            prompt, messages, documents, answer, parts, max_new_tokens: as for :meth:`sources`.
            shuffles: how often the prompt's tokens are dealt out anew, for the control; seed: of these.

        Raises:
            InputError: the prompt cannot be used, or no token of the answer stands in its parts.
            UnsupportedModelError: the model does not continue texts.
        """
        from attention_analyzer.sources import retrieval_heads

        return retrieval_heads(
            self.loaded,
            prompt,
            messages=messages,
            documents=documents,
            answer=answer,
            parts=parts,
            shuffles=shuffles,
            max_new_tokens=max_new_tokens,
            seed=seed,
        )

    def suppression(
        self, text: str | Messages, level: Level | None = None, *, progress: OnProgress | None = None
    ) -> Suppression:
        """What each part changes in the parts after it: the predictions when nothing may attend to it.

        Args:
            text: a text or messages, up to the last word.
            level: as for :meth:`.AttentionRecord.parts`.
            progress: called with the number of parts done and of all.

        Raises:
            InputError: the text has no two parts.
            TooLongError: it exceeds the model's positions.
            UnsupportedModelError: the model does not continue texts, or its cache cannot be cut.
        """
        from attention_analyzer.sources import suppression

        return suppression(self.loaded, text, level, progress=progress)

    def learn_sources(
        self,
        prompts: Iterable[Any],
        *,
        max_new_tokens: int = 64,
        errors: OnError = "raise",
        progress: OnProgress | None = None,
    ) -> HeadWeights:
        """Learn which heads show sources, from prompts without any annotation; :meth:`sources` then uses them.

        The weights are kept in the cache folder under the model's fingerprint, if the analyzer has a cache.

        Args:
            prompts: at least eight: texts, lists of messages, or mappings with ``messages`` and ``documents``.
            max_new_tokens: of the model's own answers.
            errors: "raise", or "skip" to leave out prompts that cannot be used and list them in ``problems``.
            progress: called with the number of prompts done and of all.

        Raises:
            InputError: there are too few prompts, or one cannot be used.
            MissingDependencyError: scikit-learn is not installed.
        """
        from attention_analyzer.sources import learn_head_weights

        weights = learn_head_weights(
            self.loaded, prompts, max_new_tokens=max_new_tokens, errors=errors, progress=progress
        )
        if self.cache is not None:
            weights.save(self.cache.folder)
        return weights

    # Language and corpora

    def relations(
        self,
        annotated: str | Path | Iterable[AnnotatedText],
        *,
        tasks: Sequence[str] | None = None,
        limit: int | None = None,
        min_words: int = 1,
        max_words: int | None = None,
        spaced: bool = True,
        combine: bool = True,
        seed: int = 0,
        errors: OnError = "skip",
        store: str | os.PathLike[str] | None = None,
        progress: OnProgress | None = None,
    ) -> Relations:
        """What heads know of dependencies, semantic roles and coreference.

        Args:
            annotated: a CoNLL-U or CoNLL-2012 file, or sentences annotated by spaCy or Stanza.
            tasks: some of :data:`attention_analyzer.linguistics.TASKS`; by default all that the annotation has.
            limit: the largest number of sentences, from the start of the file.
            min_words, max_words: sentences with fewer or more words are left out.
            spaced: put a space between all annotated words ("do n't"), so that no token belongs to two words; False
                reads the text as it was written.
            combine: whether the combination of all heads is fitted, too.
            seed: of the splits.
            errors: "skip" leaves out sentences that the model cannot read and lists them in ``problems``; "raise"
                stops.
            store: a folder that keeps what was measured; the same call resumes there after an interruption.
            progress: called with the number of sentences done and of all.

        Raises:
            FileFormatError: the annotation is malformed; the message has line and reason.
            InputError: no sentence is left, the annotation lacks a task, or the store is of another run.
        """
        from attention_analyzer.linguistics import relations

        return relations(
            self.loaded,
            annotated,
            tasks=tasks,
            limit=limit,
            min_words=min_words,
            max_words=max_words,
            spaced=spaced,
            combine=combine,
            seed=seed,
            errors=errors,
            store=store,
            progress=progress,
        )

    def scan(
        self,
        inputs: Any,
        store: str | Path,
        *,
        column: str | None = None,
        unit: TextUnit = "line",
        encoding: str | None = None,
        delimiter: str | None = None,
        header: bool = True,
        truncate: bool = False,
        examples: int = 10,
        links: bool = True,
        batch_tokens: int = 4096,
        engine: Literal["local", "ray"] = "local",
        workers: int | None = None,
        address: str | None = None,
        errors: OnError = "skip",
        progress: bool | Callable[[Progress], None] = True,
    ) -> Corpus:
        """Measure every head on every text of a corpus, into a folder that can be queried.

        Called again after an interruption, it resumes, and ends with the same tables.

        Args:
            inputs: files, folders, patterns or datasets (txt, csv, jsonl, parquet, conllu, Hugging Face datasets on
                disk), or any iterable of texts. They are streamed.
            store: the folder.
            column: of the text in tables.
            unit: what one text of a plain text file is: "line", "paragraph" or "file".
            encoding: of files that are neither UTF-8 nor UTF-16 ("cp1252").
            delimiter: of CSV files (";").
            header: False if the first line of a CSV file is a row; its columns are then "1", "2", ….
            truncate: cut what the model has no positions for, instead of skipping it.
            examples: the number of texts and positions stored per head.
            links: False stores no top keys: a small store that cannot be searched.
            batch_tokens: the largest number of tokens that run together.
            engine: "local", or "ray" for many processes or machines.
            workers: the number of Ray workers.
            address: of the Ray cluster.
            errors: "skip" lists rows that cannot be read in ``problems()``; "raise" stops at the first.
            progress: a bar (True), nothing (False), or a function that is called with a :class:`.corpus.Progress`.

        Raises:
            InputError: an input or setting cannot be used, or the store is of another model, setting or input.
            AttentionAnalyzerError: the store cannot be written; what was finished is kept.
        """
        from attention_analyzer.corpus import scan

        return scan(
            self.loaded,
            inputs,
            store,
            column=column,
            unit=unit,
            encoding=encoding,
            delimiter=delimiter,
            header=header,
            truncate=truncate,
            examples=examples,
            links=links,
            batch_tokens=batch_tokens,
            engine=engine,
            workers=workers,
            address=address,
            errors=errors,
            progress=progress,
        )

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

    def _usable(self, texts: list[Any], errors: OnError, truncate: bool) -> UsableTexts[Any]:
        """Without "skip", the forwards name a text that cannot be used, and none is read twice."""
        if check_on_error(errors) == "raise":
            return UsableTexts.unchecked(texts)
        return usable_texts(self.loaded, texts, errors=errors, truncate=truncate)

    def _records(self, texts: list[str | Pair], truncate: bool, check: bool, batch_size: int) -> list[AttentionRecord]:
        return [self._held(captured) for captured in self._cached_records(texts, truncate, check, batch_size)]

    def _cached_records(
        self, texts: list[str | Pair], truncate: bool, check: bool, batch_size: int
    ) -> list[CapturedAttention]:
        if self.cache is None:
            return record_texts(self.loaded, texts, truncate=truncate, check=check, batch_size=batch_size)
        texts = [as_text(self.loaded.need_tokenizer(), text) for text in texts]
        with numbered_errors(self.loaded, texts, count(), truncate) if len(texts) > 1 else nullcontext():
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


def _media_of(
    text: Any, *, image: Any, images: Sequence[Any] | None, audio: Any, video: Any, rate: int | None, messages: Any
) -> Media | None:
    """The images or the sound that were given, read; None where there are none."""
    chat = next((each for each in (messages, text) if is_messages(each)), None)
    listed = [image] if image is not None else [] if images is None else list(images)
    if image is not None and images is not None:
        raise InputError("Give image=… or images=[…], and not both.")
    if images is not None and not listed:
        raise InputError("images=[…] is empty; give at least one image.")
    if not listed and audio is None and video is None and not (chat is not None and has_images(chat)):
        return None
    beside = None if chat is not None else text
    return read_media(images=listed, audio=audio, video=video, sampling_rate=rate, text=beside, messages=chat)


def _asked_of(text: Any, *, image: Any, images: Sequence[Any] | None, audio: Any, video: Any, rate: int | None) -> Any:
    """The text, or the images or the sound that were given, read."""
    found = _media_of(text, image=image, images=images, audio=audio, video=video, rate=rate, messages=None)
    if found is None and text is None:
        raise InputError("Give a text, image=…, images=[…], audio=… or video=….")
    return text if found is None else found


def _one_text(text: Any) -> Any:
    """The text, pair or chat itself; None for anything that should be many of them."""
    if isinstance(text, str) or is_messages(text):
        return text
    return (text[0], text[1]) if isinstance(text, tuple) and len(text) == 2 else None


def _cache(choice: bool | str | os.PathLike[str]) -> RecordCache | None:
    if choice is False:
        return None
    return RecordCache(default_folder() if choice is True else Path(choice))


def _given(texts: Any, inputs: Any) -> Any:
    """The texts, or one mapping of ids for each row of the inputs.

    Raises:
        InputError: neither or both were given.
    """
    if (texts is None) == (inputs is None):
        raise InputError("Give either texts or inputs=…, and not both.")
    return texts if inputs is None else single_texts(inputs)
