"""Tables as CSV, Markdown, LaTeX and HTML."""

import csv
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from io import StringIO

MISSING = "–"
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
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    text_columns: int
    note: str = ""

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
        lines = [self.header, ("---",) * self.text_columns + ("---:",) * numbers, *self.rows]
        escaped = [[cell.replace("|", "\\|") for cell in line] for line in lines]
        table = "\n".join(f"| {' | '.join(cells)} |" for cells in escaped)
        note = f"\n{self.note}\n" if self.note else ""
        return f"# {self.title}\n\n{table}\n{note}"

    def latex(self) -> str:
        """A `table` environment, for the packages booktabs and adjustbox."""
        numbers = len(self.header) - self.text_columns

        def line(cells: tuple[str, ...]) -> str:
            return f"{' & '.join(cell.translate(_LATEX) for cell in cells)} \\\\"

        caption = f"{self.title}. {self.note}".replace("`", "").translate(_LATEX)
        return "\n".join(
            [
                r"\begin{table}",
                r"\centering",
                rf"\caption{{{' '.join(caption.split())}}}",
                r"\begin{adjustbox}{max width=\linewidth}",
                rf"\begin{{tabular}}{{{'l' * self.text_columns}{'r' * numbers}}}",
                r"\toprule",
                line(self.header),
                r"\midrule",
                *(line(row) for row in self.rows),
                r"\bottomrule",
                r"\end{tabular}",
                r"\end{adjustbox}",
                r"\end{table}",
                "",
            ]
        )

    def html(self) -> str:
        """Title, table and note, for `html_page`."""

        def line(kind: str, cells: tuple[str, ...]) -> str:
            texts = "".join(
                f"<{kind}>{escape(cell)}</{kind}>" for cell in cells[: self.text_columns]
            )
            numbers = "".join(
                f'<{kind} class="number">{escape(cell)}</{kind}>'
                for cell in cells[self.text_columns :]
            )
            return f"<tr>{texts}{numbers}</tr>"

        rows = "\n".join(line("td", row) for row in self.rows)
        note = re.sub("`(.*?)`", r"<code>\1</code>", escape(self.note))
        return (
            f"<h1>{escape(self.title)}</h1>\n<table>\n<thead>{line('th', self.header)}</thead>\n"
            f"<tbody>\n{rows}\n</tbody>\n</table>\n" + (f"<p>{note}</p>\n" if note else "")
        )


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
