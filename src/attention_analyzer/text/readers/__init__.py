"""Readers of files with many texts, one kind a file; a new one is a new file in this room and one line in the table."""

from __future__ import annotations

from attention_analyzer.text.readers.annotated import Conll2012, ConllU
from attention_analyzer.text.readers.csv_rows import CsvRows
from attention_analyzer.text.readers.dataset import Dataset
from attention_analyzer.text.readers.inputs import Source, read_source, sources
from attention_analyzer.text.readers.json_lines import JsonLines
from attention_analyzer.text.readers.parquet_rows import ParquetRows
from attention_analyzer.text.readers.plain import PlainText
from attention_analyzer.text.readers.row import BadRow, Reader, ReadOptions, Row

#: Every kind of input.
READERS: tuple[Reader, ...] = (PlainText(), CsvRows(), JsonLines(), ParquetRows(), ConllU(), Conll2012(), Dataset())

__all__ = ["READERS", "BadRow", "ReadOptions", "Reader", "Row", "Source", "read_source", "sources"]
