"""Every number that a lesson's text quotes is computed again, or looked up in `figures/`.

`tests/quoted/lesson_0X.py` holds `QUOTED`: cell id → number as it is printed → a function that
gives its value; it is compared at the digits that are printed. What counts as a quoted number: a
numeral with a decimal point, a percent sign, a thousands comma or at least two digits, outside of
code, formulas, headings, links, years and references (lesson 04, section 2.1, exercise 3.2,
minutes and seconds of the header).
"""

import importlib.util
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TABLES = sorted((Path(__file__).parent / "quoted").glob("lesson_*.py"))
NOT_PROSE = (
    r"(?s)```.*?```",
    r"`[^`\n]*`",
    r"(?s)\$\$.*?\$\$",
    r"\$[^$\n]*\$",
    r"\]\([^)]*\)|!\[[^\]]*\]",
    r"(?m)^#.*$",
    r"<[^>]*>",
    r"(?i)\b(lessons?|notebooks?|sections?|exercises?|cells?|theorems?|lemmas?|eqs?\.|§§?) ?"
    r"[\d.]+((?: and| to|–|-) ?[\d.]+)*",
    r"\(\d\.\d\)|\| ?\d\.\d ?\|",
    r"\b(19|20)\d\d\b",
    r"(?i)\b\d+ (minutes?|hours?)\b|\*\*Time:?\*\*.*",
    r"(?ms)^## Readings.*?(?=^## |\Z)|\*\*Readings\.\*\*.*",
)
NUMBER = r"(?<![\w.])−?\d[\d,]*(?:\.\d+)?(?:e-?\d+)?(?: ?%)?"


def quoted(markdown):
    """The quoted numbers of a text, as they are printed."""
    for pattern in NOT_PROSE:
        markdown = re.sub(pattern, " ", markdown)
    found = (number.rstrip(",") for number in re.findall(NUMBER, markdown))
    return {n for n in found if len(re.sub(r"[^\d]", "", n)) > 1 or "%" in n}


def digits(number):
    """A printed number → its value and half a unit of its last digit."""
    plain = number.replace(",", "").replace("−", "-")
    scale = 0.01 if "%" in plain else 1.0
    plain = plain.rstrip("% ")
    mantissa, _, exponent = plain.partition("e")
    places = len(mantissa.partition(".")[2])
    unit = 10.0 ** (int(exponent or 0) - places)
    return scale * float(plain), scale * unit * 0.5000001


def table_of(path):
    spec = importlib.util.spec_from_file_location(f"quoted_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.QUOTED


def cells_of(path):
    (book,) = (ROOT / "notebooks").glob(f"{path.stem[-2:]}_*.ipynb")
    cells = json.loads(book.read_text())["cells"]
    return {c["id"]: "".join(c["source"]) for c in cells if c["cell_type"] == "markdown"}


def test_every_lesson_has_its_table():
    assert [path.stem for path in TABLES] == [f"lesson_0{n}" for n in range(1, 8)]


@pytest.mark.parametrize("path", TABLES, ids=lambda p: p.stem)
def test_every_quoted_number_has_its_source(path):
    table, cells = table_of(path), cells_of(path)
    for cell, text in cells.items():
        missing = quoted(text) - set(table.get(cell, {}))
        assert not missing, f"{path.stem}, cell {cell}: no source for {sorted(missing)}"
    for cell, numbers in table.items():
        assert not set(numbers) - quoted(cells[cell]), f"cell {cell} no longer quotes these"


@pytest.mark.parametrize("path", TABLES, ids=lambda p: p.stem)
def test_every_quoted_number_is_what_its_source_gives(path):
    for cell, numbers in table_of(path).items():
        for number, source in numbers.items():
            value, half = digits(number)
            assert abs(source() - value) <= half, f"cell {cell} says {number}, it is {source()}"


def test_a_wrong_number_and_one_without_a_source_would_be_noticed():
    text = "## 12 Head\nIn lesson 04, 66 % of 1,500 flights cost 0.25; $x=17$, `b 23`, 1 or 2."
    assert quoted(text) == {"66 %", "1,500", "0.25"}
    assert digits("66 %")[0] == pytest.approx(0.66) and digits("1,500")[0] == 1500
    value, half = digits("0.25")
    assert abs(0.2549 - value) <= half < abs(0.2551 - value)
