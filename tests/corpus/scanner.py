"""A process that scans, or runs a study, in children of its own: a test can kill one without starting Python anew.

Each line of its input is a JSON object: ``what`` ("scan" or "study"), ``folder``, of a scan ``commit_every`` and, to
fill the disk, ``full_at``: after so many texts the system lets the child write only small files. The child writes its
process number, how many texts are done after each chunk, and how it ended; the process itself when the child is over.
:class:`Scanner` is the other side.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import warnings
from contextlib import suppress
from pathlib import Path

import torch
import xxhash

from attention_analyzer.analyzer import AttentionAnalyzer
from attention_analyzer.corpus import Progress, chunks
from attention_analyzer.errors import AttentionAnalyzerError
from attention_analyzer.run import runner
from attention_analyzer.studies import Patterns
from tests.corpus.conftest import sentences
from tests.linguistics.test_questions import bert

ROOT = Path(__file__).resolve().parents[2]
OVER = "over"
CHUNK = 7
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


def study(analyzer: AttentionAnalyzer, folder: str, full_at: int | None) -> None:
    def tell(done: int, _: int) -> None:
        say(done)
        if full_at is not None and done >= full_at:
            resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL_FILES, SMALL_FILES))

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            (found,) = analyzer.study(sentences(90), [Patterns()], batch_size=CHUNK, store=folder, progress=tell)
        say(xxhash.xxh3_64_hexdigest(found.table.to_csv().encode()))
    except AttentionAnalyzerError as error:
        say(error)
    say("ended")


def main() -> None:
    chunks.CHUNK_TEXTS = CHUNK
    runner.CHUNK = 1
    torch.set_num_threads(1)  # threads do not survive a fork
    analyzer = AttentionAnalyzer.of(bert(), cache=False)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            say(os.getpid())
            options = json.loads(line)
            {"scan": scan, "study": study}[options.pop("what", "scan")](analyzer, **options)
            os._exit(0)
        os.waitpid(child, 0)
        say(OVER)


class Scanner:
    """Scans in processes that can be killed."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.corpus.scanner"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )

    def scan(
        self, folder: Path, kill_after: int | None = None, kill_in: float | None = None, **options: object
    ) -> list[str]:
        """What the child wrote, up to its end or to when it was killed: after a line, or after some seconds."""
        self.process.stdin.write(json.dumps({"folder": str(folder), "full_at": None, **options}) + "\n")
        self.process.stdin.flush()
        child = int(self.process.stdout.readline())
        timer = threading.Timer(kill_in or 0, self._kill, (child,))
        if kill_in is not None:
            timer.start()
        lines: list[str] = []
        while (line := self.process.stdout.readline().strip()) != OVER:
            lines.append(line)
            if len(lines) == kill_after:
                self._kill(child)
        timer.cancel()
        return lines

    def close(self) -> None:
        """Let the process end."""
        self.process.communicate(timeout=60)

    @staticmethod
    def _kill(child: int) -> None:
        with suppress(ProcessLookupError):  # it was faster
            os.kill(child, signal.SIGKILL)


if __name__ == "__main__":
    main()
