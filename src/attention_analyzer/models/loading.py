"""From a name, a folder or an object to a :class:`LoadedModel`.

A model that was named is never replaced by another. Only safetensors weights are read and no remote code is run unless
the caller asks for either.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from attention_analyzer.arguments import explain
from attention_analyzer.errors import (
    AttentionAnalyzerError,
    InputError,
    MissingDependencyError,
    ModelError,
    ModelNotFoundError,
)
from attention_analyzer.locks import ForkSafeLock
from attention_analyzer.models.adapters import base_of, with_adapter
from attention_analyzer.models.catalog import offline_encoder
from attention_analyzer.models.loaded import LoadedModel, is_processor
from attention_analyzer.models.locating import DEFAULT, fallback_remark, locate
from attention_analyzer.models.unwrapping import unwrap
from attention_analyzer.random_state import restored_draws

#: Longer than any file system's path and any name on the hub.
_LONGEST_NAME = 4096
#: Bytes of one part of a path; file systems refuse to look for longer ones.
_LONGEST_PART = 255
#: transformers builds models under settings of the whole process (dtype, device), so they are loaded one at a time.
_loading = ForkSafeLock()


@explain
def load_model(
    model: Any = None,
    tokenizer: Any = None,
    *,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    model_class: str | type | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
    keep_on: str | torch.device | None = None,
    processor: Any = None,
    **options: Any,
) -> LoadedModel:
    """Load a model and its tokenizer.

    Args:
        model: a bundled or packaged name, a local folder (of a model, or of an adapter), a hub id, a module that is
            already loaded, or what holds one (a pipeline, a SentenceTransformer, a PEFT, parallel or compiled model;
            see :mod:`.unwrapping`); None for ``bert-base-uncased`` or, with a warning, the offline encoder where that
            cannot be had.
        tokenizer: for a loaded model its tokenizer or processor, which a pipeline or SentenceTransformer brings itself;
            otherwise only to replace the checkpoint's own.
        device: "auto" takes a CUDA device where there is one. A loaded model stays where it is.
        dtype: "auto" keeps the checkpoint's, but float16 becomes float32 on a CPU. A loaded model stays as it is.
        model_class: a transformers class or its name; by default the one the checkpoint was saved from.
        revision: a branch, tag or commit on the hub.
        trust_remote_code: whether code from the checkpoint may run.
        allow_pickle: whether weights may be read from pickle files.
        keep_on: where recorded queries and keys are kept ("cpu" spares a GPU's memory); by default where the model
            computed them, and main memory for a model on several devices.
        processor: of images or sound, instead of the checkpoint's own; one given as ``tokenizer`` is taken, too.
        options: further arguments of ``from_pretrained`` (``attn_implementation``, ``device_map``, …).

    Raises:
        InputError: what was given is no model.
        ModelNotFoundError: there is no such model here.
        MissingDependencyError: ``device_map`` needs accelerate, an adapter needs peft.
        ModelError: there is, but it cannot be loaded.
    """
    store = None if keep_on is None else _device(keep_on)
    if model is None:
        return _load_default(device=device, dtype=dtype, keep_on=keep_on, **options)
    if not isinstance(model, (str, os.PathLike)):
        bare = unwrap(model)
        text_side = bare.text_side if tokenizer is None else tokenizer
        return LoadedModel(
            bare.model,
            _text_part(text_side, processor),
            _name_of(bare.model),
            keep_on=store,
            wrappers=bare.wrappers,
            processor=_processor(text_side, processor),
        )
    name = os.fspath(model)
    if not name.strip():
        raise InputError(
            "The model's name is empty; give a model name, a folder or a Hugging Face id (attn models lists local "
            "ones)."
        )
    if not _can_be_looked_for(name):
        raise InputError(f"{name[:60]!r} ({len(name):,} characters) is no name of a model or folder.")
    base = base_of(name)
    if base is not None:
        own = {"device": device, "dtype": dtype, "model_class": model_class, "keep_on": keep_on}
        rights = {"trust_remote_code": trust_remote_code, "allow_pickle": allow_pickle}
        with _loading():
            return _load_adapter(name, base, tokenizer, {**own, **rights, **options})
    settings = {"trust_remote_code": trust_remote_code, "revision": revision}
    with _loading():
        return _load_named(
            name,
            tokenizer,
            settings=settings,
            device=device,
            dtype=dtype,
            model_class=model_class,
            allow_pickle=allow_pickle,
            store=store,
            processor=processor,
            options=options,
        )


def _load_named(
    name: str,
    tokenizer: Any,
    *,
    settings: dict[str, Any],
    device: str | torch.device,
    dtype: str | torch.dtype,
    model_class: str | type | None,
    allow_pickle: bool,
    store: torch.device | None,
    processor: Any,
    options: dict[str, Any],
) -> LoadedModel:
    where, settings["local_files_only"] = locate(name, settings)
    settings = {key: value for key, value in settings.items() if value is not None}
    place = _device(device)
    if "device_map" in options and find_spec("accelerate") is None:
        raise MissingDependencyError("accelerate", "training", "A model in several places (device_map)")
    try:
        from transformers import AutoConfig

        config = AutoConfig.from_pretrained(where, **settings)
        chosen = _class_for(config, model_class)
        with _quiet_loading():
            network = chosen.from_pretrained(
                where,
                config=config,
                dtype=_dtype(dtype, place, config),
                use_safetensors=None if allow_pickle else True,
                **settings,
                **options,
            )
    except (ImportError, AttentionAnalyzerError):
        raise
    except Exception as error:
        raise ModelError(_one_sentence(f"{name} could not be loaded", error)) from error
    if "device_map" not in options:
        network = network.to(place)
    network.eval()
    if tokenizer is not None or processor is not None:
        text_side, reader = _text_part(tokenizer, processor), _processor(tokenizer, processor)
        return LoadedModel(network, text_side, name, keep_on=store, processor=reader, source=where)
    own, problem = _tokenizer(where, settings)
    return LoadedModel(network, own, name, problem, store, source=where)


#: The name inside the package.
load = load_model


def _load_adapter(folder: str, base: str, tokenizer: Any, options: dict[str, Any]) -> LoadedModel:
    """A model with an adapter in it; the tokenizer is the folder's own, where it has one."""
    whole = load(base, tokenizer, **options)
    network = with_adapter(whole.model, folder)
    if tokenizer is None and (Path(folder).expanduser() / "tokenizer_config.json").exists():
        own, problem = _tokenizer(folder, {"local_files_only": True})
        whole = whole if own is None else replace(whole, tokenizer=own, tokenizer_problem=problem)
    return replace(whole, model=network, name=folder, wrappers=("PeftModel",))


def from_config(
    config: Any, tokenizer: Any = None, *, model_class: str | type | None = None, seed: int = 0, device: str = "auto"
) -> LoadedModel:
    """A model with fresh random weights from a configuration.

    Args:
        config: a transformers configuration.
        seed: of the weights; the caller's random state is left as it was.

    Raises:
        InputError: this is no configuration.
    """
    from transformers import PreTrainedConfig

    if not isinstance(config, PreTrainedConfig):
        raise InputError(
            f"A model is built from a transformers configuration such as LlamaConfig(…), not from a "
            f"{type(config).__name__}; give a name, a folder or a model to AttentionAnalyzer(…) instead."
        )
    devices = [torch.device("cuda", number) for number in range(torch.cuda.device_count())]
    with restored_draws(devices, seed=seed):
        chosen = _class_for(config, model_class)
        # The Auto classes build by a method of their own.
        model = chosen.from_config(config) if hasattr(chosen, "from_config") else chosen(config)
    model.to(_device(device)).eval()
    return LoadedModel(
        model,
        _text_part(tokenizer, None),
        f"{type(model).__name__} with random weights",
        processor=_processor(tokenizer, None),
    )


def _load_default(**options: Any) -> LoadedModel:
    try:
        return load(DEFAULT, **options)
    except (ModelNotFoundError, ModelError) as error:
        name = offline_encoder()
        if name is None:
            raise
        warnings.warn(fallback_remark(error, name), stacklevel=3)
        return load(name, **options)


def _can_be_looked_for(name: str) -> bool:
    try:
        parts = name.encode().split(b"/")
    except UnicodeEncodeError:
        return False
    return len(name) <= _LONGEST_NAME and "\0" not in name and max(map(len, parts)) <= _LONGEST_PART


def _class_for(config: Any, wanted: str | type | None) -> Any:
    import transformers

    if isinstance(wanted, type):
        return wanted
    names = [wanted] if wanted else list(getattr(config, "architectures", None) or [])
    for name in names:
        found = getattr(transformers, name, None)
        if found is not None:
            return found
    if wanted:
        raise ModelError(f"transformers has no class {wanted!r}; name one such as 'AutoModelForCausalLM'.")
    return transformers.AutoModel


def _device(device: str | torch.device) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise InputError(_one_sentence(f"The device {device!r} cannot be used here", error)) from None
    return chosen


def _dtype(dtype: str | torch.dtype, device: torch.device, config: Any) -> torch.dtype | str:
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype != "auto":
        named = getattr(torch, dtype, None)
        if not isinstance(named, torch.dtype):
            raise InputError(f"There is no dtype {dtype!r}; name one such as 'float32' or 'bfloat16'.")
        return named
    stored = getattr(config, "dtype", None)
    return torch.float32 if device.type == "cpu" and stored in (torch.float16, "float16") else "auto"


def _tokenizer(where: str, settings: dict[str, Any]) -> tuple[Any, str]:
    """The checkpoint's tokenizer; or None, which models of images or sound can do without, and why."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(where, **settings)
    except Exception as error:  # noqa: BLE001 (a dozen kinds of error say the same: no tokenizer here)
        return None, " ".join(str(error).split())[:200]
    # Where the files are missing, some classes start with nothing but their special tokens, and say nothing.
    if len(tokenizer) <= len(tokenizer.all_special_tokens):
        return None, "its vocabulary is missing"
    return tokenizer, ""


@contextmanager
def _quiet_loading() -> Iterator[None]:
    """Without the bar that transformers shows for weights, which are read in a moment; downloads keep theirs."""
    from transformers.utils import logging

    was_shown = logging.is_progress_bar_enabled()
    try:
        logging.disable_progress_bar()
        yield
    finally:
        if was_shown:
            logging.enable_progress_bar()


def _text_part(tokenizer: Any, processor: Any) -> Any:
    """The tokenizer itself, or the one inside a processor; None where that reads no text."""
    given = processor if tokenizer is None else tokenizer
    found = getattr(given, "tokenizer", None if is_processor(given) else given)
    if found is not None and (isinstance(found, nn.Module) or not callable(found) or not hasattr(found, "decode")):
        shown = f"the string {found!r}" if isinstance(found, str) else f"an object of type {type(found).__name__}"
        raise InputError(
            f"The tokenizer must be a tokenizer or processor of transformers, not {shown}; pass what "
            "AutoTokenizer.from_pretrained(…) returns (PreTrainedTokenizerFast(tokenizer_object=…) makes one of a "
            "tokenizers.Tokenizer)."
        )
    return found


def _processor(tokenizer: Any, processor: Any) -> Any:
    """The processor that was given, also as a tokenizer."""
    return processor if processor is not None else tokenizer if is_processor(tokenizer) else None


def _name_of(model: nn.Module) -> str:
    config = getattr(model, "config", None)
    return getattr(config, "_name_or_path", "") or type(model).__name__


def _one_sentence(what: str, error: Exception) -> str:
    reason = " ".join(str(error).split())
    return f"{what}: {reason[:300].rstrip('.')}."
