"""What heads do as programs: sparse mixtures of rules that the text alone decides, fitted and then tested."""

from __future__ import annotations

from attention_analyzer.programs.find import programs
from attention_analyzer.programs.program import Program, Term
from attention_analyzer.programs.registry import RULES
from attention_analyzer.programs.replace import ProgramReplacement, replace_by_program
from attention_analyzer.programs.result import HeadPrograms
from attention_analyzer.programs.rule import Rule
from attention_analyzer.programs.study import Programs

__all__ = [
    "RULES",
    "HeadPrograms",
    "Program",
    "ProgramReplacement",
    "Programs",
    "Rule",
    "Term",
    "programs",
    "replace_by_program",
]
