"""Tables as CSV, Markdown and LaTeX."""

import csv
import math
from dataclasses import dataclass
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
