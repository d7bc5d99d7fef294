"""The columns of a CSV file: text, and numbers where a column holds nothing else."""

import csv
import os
from collections.abc import Iterator
from typing import Any


def read_csv(file: str | os.PathLike[str], delimiter: str, encoding: str) -> dict[str, list[str]]:
    """Read a CSV file whose first line names the columns.

    Raises
    ------
    ValueError
        If the first line does not, or another has more or fewer fields; empty lines are passed
        over.
    """
    with open(file, newline="", encoding=encoding) as stream:
        lines = _lines(csv.reader(stream, delimiter=delimiter, strict=True), file)
        _, header = next(lines, (1, []))
        if not header or len(set(header)) < len(header):
            raise ValueError(f"The first line of {file} must name different columns: {header}.")
        rows = []
        for number, row in lines:
            if len(row) != len(header):
                raise ValueError(
                    f"Line {number} of {file} has {len(row)} fields, the first has {len(header)}. "
                    f"Quote text that holds a {delimiter!r}."
                )
            rows.append(row)
    return {column: [row[i] for row in rows] for i, column in enumerate(header)}


def _lines(reader: Any, file: str | os.PathLike[str]) -> Iterator[tuple[int, list[str]]]:
    try:
        for row in reader:
            if row:
                yield reader.line_num, row
    except csv.Error as error:
        raise ValueError(f"Line {reader.line_num} of {file} is not CSV: {error}.") from error


def split_texts(texts: list[str], separator: str) -> list[list[str]]:
    """Split texts at a separator; nothing of nothing."""
    return [[part.strip() for part in text.split(separator) if part.strip()] for text in texts]


def numbers_if_all_are(texts: list[str]) -> list[Any]:
    """Read numbers, unless one is text, or a whole one is written otherwise, such as 007."""
    try:
        numbers = [int(text) for text in texts]
    except ValueError:
        return _floats_if_all_are(texts)
    return numbers if [str(number) for number in numbers] == texts else texts


def _floats_if_all_are(texts: list[str]) -> list[Any]:
    try:
        return [float(text) for text in texts]
    except ValueError:
        return texts
