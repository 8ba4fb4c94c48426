"""The commands and the files that the documentation shows."""

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
# What a line of a code block begins with if it is a command; other blocks show files and layouts.
_PROGRAMS = (
    "python", "snakemake", "make", "mlflow", "dvc", "git", "pip", "sbatch", "source", "$EDITOR",
    "pre-commit", "gto", "cp", "mv", "mkdir", "cd", "export", "ssh", "srun", "squeue", "scancel",
    "unzip", "docker",
)  # fmt: skip


def code_blocks(page: Path) -> list[tuple[str, str]]:
    """The code blocks of a page: title (may be empty) and text."""
    text = page.read_text(encoding="utf-8")
    pattern = r'^```\w*(?: title="([^"]*)")?\n(.*?)^```$|((?:^ {4}[^\n]*\n|^\n(?= {4}))+)'
    blocks = []
    for match in re.finditer(pattern, text, re.MULTILINE | re.DOTALL):
        title, fenced, indented = match.groups()
        body = fenced if fenced is not None else re.sub(r"^    ", "", indented, flags=re.MULTILINE)
        blocks.append((title or "", body.strip("\n") + "\n"))
    return blocks


def shown_files(page: Path) -> dict[str, str]:
    """The files that a page shows whole: path -> contents."""
    return {title: text for title, text in code_blocks(page) if title}


def commands(page: Path) -> list[str]:
    """The commands of a page in order, continued lines joined, without comments."""
    found = []
    for title, block in code_blocks(page):
        if title:
            continue
        for line in re.sub(r"\\\n\s*", "", block).splitlines():
            words = line.split()
            if words and words[0] in _PROGRAMS:
                found.append(re.sub(r"\s+#\s.*$", "", line).strip())
    return found


def mentioned(page: Path) -> list[str]:
    """The commands within a page's sentences: `make docs`, `python -m benchmarks.inference`."""
    prose = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    spans = re.findall(r"`([^`\n]+)`", prose)
    return [span for span in spans if span.split()[0] in _PROGRAMS[:6] and len(span.split()) > 1]


def arguments(command: str) -> list[str]:
    """A command's words, as a shell splits them, without what goes on with its output."""
    words = shlex.split(command)
    ends = [number for number, word in enumerate(words) if word in ("|", ";", ">", "2>", "&&", "&")]
    return words[: min(ends, default=len(words))]
