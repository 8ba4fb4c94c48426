"""The code of a command: the modules that it imports, their data files, and a hash of all of them.

A workflow redoes a stage whose code has changed. Which files are a stage's code follows from its
imports alone, so no list of files can miss one, or name one too many.
"""

import ast
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from scan_core.errors import InputError


def source_hash(root: Path, module: str, data: Iterable[str] = ()) -> str:
    """Hash everything that running a module of the project can run.

    Unlike time stamps, the hash survives a checkout and a copy.

    Args:
        root: the project's root.
        module: such as `workflow_scripts.train_segmenter`.
        data: glob patterns relative to `root` of files that the module reads although no module
            names them, such as `scan_core/vocabulary/data/mini_*.json`.

    Returns:
        12 hexadecimal digits.

    Raises:
        InputError: there is no such module, or a pattern matches no file.
    """
    files = set(import_closure(root, module))
    for pattern in data:
        found = [path for path in root.glob(pattern) if path.is_file()]
        if not found:
            raise InputError(f"no file matches {pattern} in {root}")
        files.update(found)
    return files_hash(root, files)


def package_hash(module: str) -> str:
    """Hash of a module of this package and of all of the package that it imports.

    For what a process itself makes of its code, wherever the package is installed.

    Args:
        module: such as `scan_core.training.run`.

    Returns:
        12 hexadecimal digits.
    """
    package = Path(__file__).parents[1]
    return files_hash(package.parent, import_closure(package.parent, module, package.name))


def files_hash(root: Path, files: Iterable[Path]) -> str:
    """Hash of the paths, relative to `root`, and contents of files: 12 hexadecimal digits."""
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def import_closure(root: Path, module: str, package: str | None = None) -> list[Path]:
    """The project's files that a module is made of.

    These are the module, the modules of the project that it imports, directly or not, at the
    top or within a function, the packages that these lie in, and the data files that stand beside
    one of them and are named in it.

    Args:
        root: the project's root.
        module: such as `workflow_scripts.train_segmenter`.
        package: whose modules alone are followed, where others lie beside it.

    Returns:
        sorted paths.

    Raises:
        InputError: there is no such module.
    """
    if _file_of(root, module) is None:
        raise InputError(f"there is no module {module} in {root}")
    waiting, seen, files = [module], set[str](), set[Path]()
    while waiting:
        name = waiting.pop()
        path = _file_of(root, name)
        if name in seen or path is None or (package and name.split(".")[0] != package):
            continue
        seen.add(name)
        imported, named = _read(path)
        files.update([path, *named])
        waiting += [name.rpartition(".")[0], *imported]
    return sorted(files)


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
def _read(path: Path) -> tuple[tuple[str, ...], tuple[Path, ...]]:
    """The modules that a file may import, and the data files beside it that it names."""
    imported, names = list[str](), set[str]()
    for node in ast.walk(ast.parse(path.read_bytes(), filename=str(path))):
        if isinstance(node, ast.Constant):
            if isinstance(node.value, str):
                names.add(node.value)
        elif isinstance(node, ast.Import):
            imported += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            # What is imported may be a module of a package.
            imported += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    files = _data_files(path.parent)
    return tuple(dict.fromkeys(imported)), tuple(files[name] for name in sorted(names & set(files)))


@cache
def _data_files(folder: Path) -> dict[str, Path]:
    """Files of a folder that are no code, by name."""
    return {child.name: child for child in folder.iterdir() if _is_data(child)}


def _is_data(path: Path) -> bool:
    return path.suffix != ".py" and path.is_file()
