"""The layout of `params.yaml`, which `dvc exp run -S` does not keep, is put back.

DVC reads the file, changes a value and writes it anew: it keeps comments, but spreads every list
over a line for each item and drops the blank line after it, so that the difference to the last
commit is the whole file instead of one value.
"""

import json
from collections.abc import Mapping
from io import StringIO
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError


def restored(committed: str, written: str) -> str | None:
    """The committed text with the values of the written one.

    Args:
        committed: text of the file as it was before.
        written: text of the file as it is.

    Returns:
        the text; None if `written` is not what DVC makes of `committed`, such as a person's own
        edit, which is left alone.
    """
    try:
        values = YAML(typ="safe", pure=True).load(written)
        before = YAML().load(committed)
        as_by_dvc = YAML().load(committed)
    except YAMLError:
        return None
    if not (isinstance(values, dict) and isinstance(before, CommentedMap)):
        return None
    _update(as_by_dvc, values, spread_lists=True)
    if _text(_writer_of_dvc(), as_by_dvc) != written:
        return None
    _update(before, values, spread_lists=False)
    text = _text(_writer(), before)
    same = json.dumps(YAML(typ="safe", pure=True).load(text)) == json.dumps(values)
    return text if same else None


def _update(here: CommentedMap, values: Mapping[str, Any], spread_lists: bool) -> None:
    """Put values in, each where the old one stood.

    Args:
        here: a mapping of the file, with its layout; changed.
        values: the new values of all its keys.
        spread_lists: replace lists that did not change, too, and thereby their layout.
    """
    for key in here.keys() - values.keys():
        del here[key]
    for key, value in values.items():
        old = here.get(key)
        if isinstance(old, CommentedMap) and isinstance(value, dict):
            _update(old, value, spread_lists)
        elif key not in here or old != value or (spread_lists and isinstance(value, list)):
            here[key] = _block(value)


def _block(value: Any) -> Any:
    """New mappings a key a line, as DVC writes them."""
    if not isinstance(value, dict):
        return value
    block = CommentedMap({key: _block(item) for key, item in value.items()})
    block.fa.set_block_style()
    return block


def _writer_of_dvc() -> YAML:
    writer = YAML()
    writer.default_flow_style = False
    return writer


def _writer() -> YAML:
    writer = YAML()
    writer.default_flow_style = None  # new lists within a line
    writer.preserve_quotes = True
    writer.width = 10_000  # lines stay as long as they are
    writer.representer.add_representer(
        type(None), lambda on, _: on.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    return writer


def _text(writer: YAML, document: CommentedMap) -> str:
    stream = StringIO()
    writer.dump(document, stream)
    return stream.getvalue()
