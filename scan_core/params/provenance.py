"""Where a result comes from: the code that made it, versions, commit.

The code of a command is the modules that it imports and the data files that these name, so that no
list of files can miss one, or name one too many. Comments, docstrings and layout do not count.
"""

import ast
import hashlib
import os
import platform
import subprocess
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from scan_core.errors import InputError
from scan_core.storage.files import file_digest, read_header, read_json

ROOT = Path(__file__).parents[2]
_PACKAGES = ("torch", "open_clip_torch", "numpy")
# They record and present results, and change none: only leaves count them as their code.
_NO_RESULTS = ("scan_core.tracking", "scan_core.reporting")


def source_hash(module: str, *, leaf: bool = False, root: Path = ROOT) -> str:
    """Hash everything that running a module of the project can run: 8 hexadecimal digits.

    Args:
        module: such as `workflow_scripts.train_segmenter`.
        leaf: whether it presents results; else code that only presents or records is left out.
        root: the project's root.

    Raises:
        InputError: there is no such module.
    """
    return _hash(root, import_closure(module, () if leaf else _NO_RESULTS, root))


def package_hash(module: str) -> str:
    """Hash a module of this package, wherever it is installed, and all of it that it imports."""
    others = (path.name for path in ROOT.iterdir() if path.name != "scan_core")
    return _hash(ROOT, import_closure(module, tuple(others)))


def code_note(evaluations: Iterable[Path]) -> str:
    """What to say of evaluations that other code than the present has made; empty where none was.

    Args:
        evaluations: `metrics.json` of each.
    """
    recorded = [item for path in evaluations for item in read_json(path).get("code", {}).items()]
    scripts = dict.fromkeys(
        f"`{script}`"
        for script, code in recorded
        if code and code != source_hash(f"workflow_scripts.{script}")
    )
    named = ", ".join(scripts)
    return f"Made by other code than the present of {named}." if scripts else ""


def imported_note(evaluations: Iterable[Path]) -> str:
    """What to say of weights that were not trained here; empty where all were.

    Args:
        evaluations: `metrics.json` of each.
    """
    stages: dict[str, set[str]] = {}
    for path in evaluations:
        for stage, file in read_json(path).get("imported", {}).items():
            text = f"`{file['file']}` (`{file['kind']}`, SHA-256 `{file['sha256']}`)"
            stages.setdefault(text, set()).add(_IMPORTED[stage])
    said = "; ".join(f"{', '.join(sorted(of))}: {text}" for text, of in stages.items())
    return f"Weights that come from a file: {said}." if said else ""


_IMPORTED = {
    "clip": "CLIP",
    "segmenter": "segmenter",
    "finetuned_clip": "fine-tuned CLIP",
    "initial_weights": "start of the segmenter's training",
}


def imported_file(kind: str, path: Path) -> dict[str, str]:
    """What is recorded of a file that weights come from."""
    return {"kind": kind, "file": path.name, "sha256": file_digest(path)}


def weights_made_by(weights: Path) -> dict[str, dict[str, Any]]:
    """What a file of weights was made by, read without PyTorch.

    Returns:
        `code`, script -> hash, and `imported`, stage -> kind, name and SHA-256 of a file.
    """
    _, about = read_header(weights, "delete it, and it is made again")
    return {key: dict(about[key]) for key in ("code", "imported") if key in about}


def provenance(
    script: str, code: str, part: Mapping[str, Any], *made_from: Mapping[str, Any]
) -> dict[str, Any]:
    """The recipe part, code, versions, git commit and machine, for the header of weights.

    Args:
        script: that makes them.
        code: hash of its code.
        part: of the recipe, that they depend on.
        made_from: headers of the weights that it reads, whose code and imported files are kept.
    """
    known = {name: of for header in made_from for name, of in header.get("code", {}).items()}
    files = {name: of for header in made_from for name, of in header.get("imported", {}).items()}
    return {
        **({"imported": files} if files else {}),
        "recipe_part": dict(part),
        "code": {**known, script: code},
        "versions": {name: version(name) for name in _PACKAGES},
        "commit": checked_out_commit(),
        **machine(),
    }


def machine() -> dict[str, str]:
    """The processor and the number of threads of this process, by which sums are rounded."""
    import torch  # whoever makes weights has it; the Snakefile does without

    cpu = f"{platform.machine()}, {os.cpu_count()} cores"
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    return {"machine": gpu or cpu, "threads": str(torch.get_num_threads())}


def checked_out_commit() -> str | None:
    """The checked-out commit; None outside of a checkout."""
    git = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def import_closure(
    module: str, left_out: Collection[str] = (), root: Path = ROOT
) -> dict[Path, str]:
    """The project's files that a module is made of, with a hash of each.

    These are the module, the modules of the project that it imports, directly or not, at the
    top or within a function, the packages that these lie in, and the data files that stand beside
    one of them and are named in it.

    Args:
        module: such as `workflow_scripts.train_segmenter`.
        left_out: packages that are not followed.
        root: the project's root.

    Raises:
        InputError: there is no such module.
    """
    if _file_of(root, module) is None:
        raise InputError(f"there is no module {module} in {root}")
    waiting, seen, files = [module], set[str](), dict[Path, str]()
    while waiting:
        name = waiting.pop()
        path = _file_of(root, name)
        if name in seen or path is None or any(f"{name}.".startswith(f"{p}.") for p in left_out):
            continue
        seen.add(name)
        imported, named, files[path] = _read(path)
        files.update((data, _digest(data)) for data in named)
        waiting += [name.rpartition(".")[0], *imported]
    return files


def _hash(root: Path, files: Mapping[Path, str]) -> str:
    lines = sorted(f"{path.relative_to(root).as_posix()} {of}\n" for path, of in files.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:8]


# Scripts share most of their modules: each is looked for once, and parsed once.
@cache
def _file_of(root: Path, module: str) -> Path | None:
    """The file of a module or package; None where it is not the project's."""
    if not module:
        return None
    stem = root.joinpath(*module.split("."))
    if (package := stem / "__init__.py").is_file():
        return package
    return path if (path := stem.with_suffix(".py")).is_file() else None


@cache
def _read(path: Path) -> tuple[tuple[str, ...], tuple[Path, ...], str]:
    """The modules that a file may import, the data files beside it that it names, and its hash."""
    imported, names = list[str](), set[str]()
    tree = ast.parse(path.read_bytes(), filename=str(path))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant):
            if isinstance(node.value, str):
                names.add(node.value)
        elif isinstance(node, ast.Import):
            imported += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            # What is imported may be a module of a package.
            imported += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    beside = {file.name: file for file in path.parent.iterdir() if file.suffix != ".py"}
    named = (beside[name] for name in sorted(names & set(beside)) if beside[name].is_file())
    code = hashlib.sha256(_plain(tree).encode()).hexdigest()
    return tuple(dict.fromkeys(imported)), tuple(named), code


def _plain(node: Any) -> str:
    """A syntax tree as text that every version of Python writes alike, without docstrings."""
    if isinstance(node, list):
        return f"[{' '.join(_plain(one) for one in node if not _is_docstring(one))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = ((name, of) for name, of in ast.iter_fields(node) if of is not None and of != [])
    return f"{type(node).__name__}({' '.join(f'{name}={_plain(of)}' for name, of in fields)})"


def _is_docstring(node: Any) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


_digest = cache(file_digest)
