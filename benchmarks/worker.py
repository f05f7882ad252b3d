"""One measurement in a process of its own: ``python -m benchmarks.worker '{"do": …}'`` prints its result as JSON."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks import attribution as attributions
from benchmarks import gpu, report, shapes, subjects


def best(run: Callable[[], object], repeats: int) -> float:
    """Seconds of the fastest of some runs."""
    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    return min(found)


def peak() -> float:
    """Most memory this process ever held, in GB."""
    try:
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024 / 1e9
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9


def ratio(shape: str, tokens: int, repeats: int) -> dict[str, float]:
    """Plain forward and toolkit, in turns."""
    loaded, texts = shapes.model(shape, tokens), [shapes.text(tokens)]
    return _turns(loaded, texts, repeats)


def short_texts(shape: str, texts: int, repeats: int) -> dict[str, float]:
    """A batch of texts of 16 to 64 tokens."""
    lengths = torch.randint(16, 65, (texts,), generator=torch.Generator().manual_seed(1)).tolist()
    loaded = shapes.model(shape, 512)
    found = _turns(loaded, [shapes.text(length, seed) for seed, length in enumerate(lengths)], repeats)
    return found | {"tokens": sum(lengths)}


def _turns(loaded, texts: list[str], repeats: int) -> dict[str, float]:
    runs = {"plain": lambda: subjects.plain(loaded, texts), "toolkit": lambda: subjects.toolkit(loaded, texts)}
    if repeats > 1:
        for run in runs.values():
            run()
    seconds = {name: float("inf") for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            seconds[name] = min(seconds[name], best(run, 1))
    return seconds


def alone(shape: str, tokens: int, subject: str, repeats: int) -> dict[str, float]:
    """One subject's time and the process's peak memory."""
    loaded = shapes.model(shape, tokens, "eager" if subject == "matrices" else "sdpa")
    text = shapes.text(tokens)
    runs = {
        "plain": lambda: subjects.plain(loaded, [text]),
        "toolkit": lambda: subjects.toolkit(loaded, [text]),
        "matrices": lambda: subjects.matrices(loaded, text),
    }
    return {"seconds": best(runs[subject], repeats), "memory": peak()}


def check(shape: str, tokens: int) -> dict[str, float]:
    """The largest difference between the toolkit's metrics and those of the full matrices."""
    text = shapes.text(tokens)
    found = subjects.toolkit(shapes.model(shape, tokens), [text])
    expected = subjects.matrices(shapes.model(shape, tokens, "eager"), text)
    worst = 0.0
    for ours, theirs in zip(found, expected, strict=True):
        for name, values in theirs.items():
            worst = max(worst, float(((ours[name][0] - values).abs() / values.abs().clamp(min=1)).max()))
    return {"difference": worst}


def record_file(tokens: int, folder: str) -> dict[str, float]:
    """Time to record a text and write the record, and the size of the file in MB."""
    from attention_analyzer import AttentionAnalyzer

    analyzer = AttentionAnalyzer.of(shapes.model("llama", tokens), cache=False)
    path = Path(folder) / "record.attn"
    start = time.perf_counter()
    path = analyzer.record(shapes.text(tokens)).save(path)
    return {"seconds": time.perf_counter() - start, "file": path.stat().st_size / 1e6, "memory": peak()}


def peer_inputs(tokens: list[int], folder: str) -> dict[str, bool]:
    """What peers are given: a checkpoint, token numbers, and the weights they must find for the first text."""
    shapes.save_llama(Path(folder) / "model")
    numbers = {size: shapes.tokenizer()(shapes.text(size))["input_ids"] for size in tokens}
    (Path(folder) / "inputs.json").write_text(json.dumps(numbers), encoding="utf-8")
    loaded = shapes.model("llama", 8192, "eager")
    with torch.no_grad():
        attentions = loaded.model(input_ids=torch.tensor([numbers[min(tokens)]]), output_attentions=True).attentions
    torch.save(torch.cat(attentions), Path(folder) / "expected.pt")
    return {"done": True}


def environment() -> dict[str, object]:
    import transformers

    from attention_analyzer.weights.cpu.compiled import row_pass

    return {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "threads": torch.get_num_threads(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else "",
        "compiled": row_pass().library is not None,
        "vectors": torch.backends.cpu.get_cpu_capability(),
    }


def attribution(method: str, tokens: int) -> dict[str, float]:
    """One attribution method's time, and the process's peak memory."""
    return {"seconds": attributions.attribution(method, tokens), "memory": peak()}


def on_gpu() -> dict[str, object]:
    """Statistics of all heads at the attention shape of a large model, beside its plain forward."""
    return gpu.measure(report.GPU_LENGTHS, gpu.Shape(), "cuda")


DO = {
    function.__name__: function
    for function in (
        ratio,
        short_texts,
        alone,
        check,
        record_file,
        peer_inputs,
        environment,
        on_gpu,
        attribution,
        attributions.flow,
    )
}

if __name__ == "__main__":
    wanted = json.loads(sys.argv[1])
    print(json.dumps(DO[wanted.pop("do")](**wanted)))
