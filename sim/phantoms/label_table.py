"""Tables of what the numbers in a segmentation mean, as segmentation tools write them."""

from __future__ import annotations

import csv
from pathlib import Path

from mmdtwin.errors import UserError

NUMBERS = ("id", "index", "number", "value", "label", "labelvalue")  # headers, in small letters
NAMES = ("name", "structure", "segment", "labelname", "organ")
DELIMITERS = "\t;, "  # in the order in which they are tried; a name may hold those further on


def read_label_table(path: Path) -> dict[str, int]:
    """Return numbers by name.

    Columns are found by their header, or else are the first with a whole number and the first
    with text in each row. They are parted by tabs, semicolons, commas or spaces.

    Raises
    ------
    UserError
        If it cannot be read, has no row with both, or gives a name two numbers.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        lines = [v for v in text.splitlines() if v.strip() and not v.startswith("#")]
        mark = next((d for d in DELIMITERS if all(d in line.strip() for line in lines)), ",")
        rows = list(csv.reader(lines, delimiter=mark, skipinitialspace=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"--names {path}: cannot be read as a table ({error})") from error
    columns = _headed(rows[0]) if rows else None
    table: dict[str, int] = {}
    for row in rows[1:] if columns else rows:
        number, name = _entry(row, columns)
        if number is None or not name:
            continue
        if table.setdefault(name, number) != number:
            raise UserError(
                f"--names {path}: '{name}' is {table[name]} and {number}; name the columns with a "
                "first row 'id,name'"
            )
    if not table:
        raise UserError(f"--names {path}: no row has a whole number and a name")
    return table


def _headed(row: list[str]) -> tuple[int, int] | None:
    """Columns of number and name that a header gives."""
    header = [v.strip().lower().replace(" ", "").replace("_", "") for v in row]
    number = [header.index(v) for v in NUMBERS if v in header]
    name = [header.index(v) for v in NAMES if v in header]
    return (number[0], name[0]) if number and name else None


def _entry(row: list[str], columns: tuple[int, int] | None) -> tuple[int | None, str]:
    cells = [v.strip() for v in row]
    if columns is not None:
        cells = [cells[i] for i in columns] if len(cells) > max(columns) else []
    numbers = [int(v) for v in cells if v.isascii() and v.isdigit()]
    texts = [v for v in cells if v and not _is_number(v)]
    return numbers[0] if numbers else None, texts[0] if texts else ""


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
