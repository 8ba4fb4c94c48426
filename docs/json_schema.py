"""The JSON schema of `params.yaml`, by which editors complete and check it while it is typed.

It is made from the blocks of `params.schema`. What depends on several keys at once, and what a
recipe lacks once it is complete, `params.reading` alone can say.
"""

import json
from typing import Any

from scan_core.params.schema.grids import Params

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> str:
    """The schema, as the text of a file."""
    schema = Params.model_json_schema()
    blocks: dict[str, Any] = schema["$defs"]
    for name in _blocks_within("Recipe", blocks):
        block = blocks[name]
        # A recipe says only what differs from the one that it extends.
        block.pop("required", None)
        for key, value in block.get("properties", {}).items():
            block["properties"][key] = _with_removals(value)
    return json.dumps({"$schema": _DIALECT, **schema}, indent=1) + "\n"


def _blocks_within(name: str, blocks: dict[str, Any]) -> list[str]:
    """A block, and those that it is made of."""
    found, waiting = [], [name]
    while waiting:
        block = waiting.pop()
        if block not in found:
            found.append(block)
            waiting += _references(blocks[block])
    return found


def _references(schema: Any) -> list[str]:
    if isinstance(schema, list):
        return [name for item in schema for name in _references(item)]
    if not isinstance(schema, dict):
        return []
    own = [schema["$ref"].rpartition("/")[2]] if "$ref" in schema else []
    return own + [name for value in schema.values() for name in _references(value)]


def _with_removals(schema: Any) -> Any:
    """The same, but `null` may stand for an entry of a table: it takes out an inherited one."""
    if isinstance(schema, list):
        return [_with_removals(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    changed = {key: _with_removals(value) for key, value in schema.items()}
    if isinstance(entries := changed.get("additionalProperties"), dict):
        changed["additionalProperties"] = {"anyOf": [entries, {"type": "null"}]}
    return changed
