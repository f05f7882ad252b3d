"""A process that scans in children of its own, so that a test can kill one without starting Python anew each time.

Each line of its input is a JSON object: ``folder``, ``commit_every`` and, to fill the disk, ``full_at``: after so many
texts the system lets the child write only small files. The child writes its process number, how many texts are done
after each chunk, and how it ended.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path

import torch

from attention_analyzer.analyzer import AttentionAnalyzer
from attention_analyzer.corpus import Progress, chunks
from attention_analyzer.errors import AttentionAnalyzerError
from tests.corpus.conftest import sentences
from tests.linguistics.test_questions import bert

chunks.CHUNK_TEXTS = 7
SMALL_FILES = 2000


def say(what: object) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


def scan(analyzer: AttentionAnalyzer, folder: str, commit_every: float, full_at: int | None) -> None:
    def tell(progress: Progress) -> None:
        say(progress.texts)
        if progress.texts == full_at:
            resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL_FILES, SMALL_FILES))

    sys.modules["attention_analyzer.corpus.scan"].COMMIT_EVERY = commit_every
    try:
        analyzer.scan(sentences(90), Path(folder), batch_tokens=200, progress=tell)
    except AttentionAnalyzerError as error:
        say(error)
    say("ended")


def main() -> None:
    torch.set_num_threads(1)  # threads do not survive a fork
    analyzer = AttentionAnalyzer.of(bert(), cache=False)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            say(os.getpid())
            scan(analyzer, **json.loads(line))
            os._exit(0)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
