"""Tables as CSV, Markdown, LaTeX and HTML."""

import csv
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from io import StringIO

MISSING = "–"
OWN = "◂"  # marks what the recipe itself says
_MINUS = "−"
_LATEX = str.maketrans(
    {
        **{character: f"\\{character}" for character in "&%$#_{}"},
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "\\": r"\textbackslash{}",
        MISSING: "--",
        _MINUS: "$-$",
        "±": r"$\pm$",
        "≤": r"$\leq$",
        "σ": r"$\sigma$",
        "†": r"\dag{}",
        "‡": r"\ddag{}",
        OWN: r"$\triangleleft$",
    }
)

_STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; color: #1f2933; margin: 2em; }
h1 { font-size: 1.3em; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 0.3em 0.8em; text-align: left; white-space: nowrap; }
th, td { border-bottom: 1px solid #e4e7eb; }
th { border-bottom: 2px solid #9aa5b1; vertical-align: bottom; }
tr:hover td { background: #f5f7fa; }
.number { text-align: right; }
p { max-width: 60em; color: #52606d; }
"""


@dataclass(frozen=True)
class Table:
    """One table; its cells are texts already.

    Attributes:
        title: one line.
        header: of the columns.
        rows: each as long as the header.
        text_columns: how many columns, from the left, are words; the others are numbers.
        note: what a reader must know, below the table. `Code` stands in backticks.
        best: (row, column) of the cells to set in bold, from 0.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    text_columns: int
    note: str = ""
    best: frozenset[tuple[int, int]] = frozenset()

    def csv(self) -> str:
        """Header and rows; title and note have no place in this format."""
        text = StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.header)
        # Programs read a number by its ASCII sign.
        writer.writerows([cell.replace(_MINUS, "-") for cell in row] for row in self.rows)
        return text.getvalue()

    def markdown(self) -> str:
        """Title, table and note."""
        numbers = len(self.header) - self.text_columns
        escaped = [
            [cell.replace("|", "\\|") for cell in self.header],
            ["---"] * self.text_columns + ["---:"] * numbers,
            *self._cells(lambda cell: cell.replace("|", "\\|"), "**{}**"),
        ]
        table = "\n".join(f"| {' | '.join(cells)} |" for cells in escaped)
        note = f"\n{self.note}\n" if self.note else ""
        return f"# {self.title}\n\n{table}\n{note}"

    def latex(self) -> str:
        """A `table` environment, for the packages booktabs and adjustbox."""
        numbers = len(self.header) - self.text_columns

        def line(cells: Sequence[str]) -> str:
            return f"{' & '.join(cells)} \\\\"

        def escaped(cell: str) -> str:
            return cell.translate(_LATEX)

        caption = f"{self.title}. {self.note}".replace("`", "").translate(_LATEX)
        return "\n".join(
            [
                r"\begin{table}",
                r"\centering",
                rf"\caption{{{' '.join(caption.split())}}}",
                r"\begin{adjustbox}{max width=\linewidth}",
                rf"\begin{{tabular}}{{{'l' * self.text_columns}{'r' * numbers}}}",
                r"\toprule",
                line([escaped(cell) for cell in self.header]),
                r"\midrule",
                *(line(row) for row in self._cells(escaped, r"\textbf{{{}}}")),
                r"\bottomrule",
                r"\end{tabular}",
                r"\end{adjustbox}",
                r"\end{table}",
                "",
            ]
        )

    def html(self, heading: str = "h1") -> str:
        """Title, table and note, for `html_page` and the report.

        Args:
            heading: element of the title; empty for none.
        """

        def line(kind: str, cells: Sequence[str]) -> str:
            texts = (f"<{kind}>{cell}</{kind}>" for cell in cells[: self.text_columns])
            numbers = (
                f'<{kind} class="number">{cell}</{kind}>' for cell in cells[self.text_columns :]
            )
            return f"<tr>{''.join(texts)}{''.join(numbers)}</tr>"

        header = line("th", [escape(cell) for cell in self.header])
        rows = "\n".join(line("td", row) for row in self._cells(escape, "<b>{}</b>"))
        title = f"<{heading}>{escape(self.title)}</{heading}>\n" if heading else ""
        note = re.sub("`(.*?)`", r"<code>\1</code>", escape(self.note))
        return f"{title}<table>\n<thead>{header}</thead>\n<tbody>\n{rows}\n</tbody>\n</table>\n" + (
            f"<p>{note}</p>\n" if note else ""
        )

    def _cells(self, escaped: Callable[[str], str], bold: str) -> Iterator[list[str]]:
        for number, row in enumerate(self.rows):
            yield [
                bold.format(escaped(cell)) if (number, column) in self.best else escaped(cell)
                for column, cell in enumerate(row)
            ]


def best_cells(
    rows: Sequence[Sequence[str]], columns: Iterable[int], among: Iterable[int] | None = None
) -> frozenset[tuple[int, int]]:
    """The largest number of each column, at the precision that is shown; ties are all best.

    Args:
        rows: cells that begin with a number, or hold none.
        columns: to look at.
        among: rows to look at; by default all. Where all are equal, none is the best.

    Returns:
        (row, column) of each of them.
    """
    chosen = list(range(len(rows)) if among is None else among)
    found: set[tuple[int, int]] = set()
    for column in columns:
        values = {row: _value(rows[row][column]) for row in chosen}
        known = [value for value in values.values() if not math.isnan(value)]
        if len(set(known)) > 1:
            found |= {(row, column) for row, value in values.items() if value == max(known)}
    return frozenset(found)


def _value(cell: str) -> float:
    match = re.match(r"[−-]?\d+(\.\d+)?", cell)
    return float(match[0].replace(_MINUS, "-")) if match else math.nan


def html_page(tables: Sequence[Table]) -> str:
    """A page that needs nothing else, as the workflow's HTML report shows it.

    Args:
        tables: one below the other; at least one.
    """
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8" />\n'
        f"<title>{escape(tables[0].title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"{''.join(table.html() for table in tables)}</body>\n</html>\n"
    )


def per_cent(fraction: float) -> str:
    """A fraction in per cent; NaN as a dash."""
    return number(100 * fraction)


def number(value: float, decimals: int = 2) -> str:
    """A number; NaN as a dash."""
    return MISSING if math.isnan(value) else f"{value:.{decimals}f}"


def difference(points: float) -> str:
    """A difference in percentage points, with its sign; NaN as a dash."""
    if math.isnan(points):
        return MISSING
    # Adding zero makes a rounded −0 positive.
    return f"{round(points, 2) + 0.0:+.2f}".replace("-", _MINUS)
