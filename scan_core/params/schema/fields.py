"""What the blocks of the schema share: kinds of values, and the block itself.

One class is one block of `params.yaml`; the string below a field is its documentation, from which
`docs/parameters.md` is generated. `scan_core.params.reading` reads the file and reports what is
wrong with it.
"""

from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PositiveFloat,
    Tag,
)

Fraction = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]
Split = Literal["train", "val"]
Precision = Literal["32-true", "bf16-mixed"]
PromptSet = Literal["vild", "imagenet", "single"]


def source(*words: str, prefixes: tuple[str, ...] = ()) -> AfterValidator:
    """Check that a text is one of `words`, or begins with one of `prefixes` and goes on."""

    def check(value: str) -> str:
        if value in words or any(value.startswith(p) and len(value) > len(p) for p in prefixes):
            return value
        allowed = [*words, *(f"{p}<...>" for p in prefixes)]
        raise ValueError(f"'{value}' is not allowed; expected {' | '.join(allowed)}")

    return AfterValidator(check)


# Choosing by the kind of value gives one error message for a union instead of one a member;
# the tags' brackets mark them as no part of the key's path.
TABLE_OR_VALUE = Discriminator(
    lambda value: "[table]" if isinstance(value, dict | BaseModel) else "[value]"
)
WORD_OR_VALUE = Discriminator(lambda value: "[word]" if isinstance(value, str) else "[value]")

LogitScale = Annotated[
    Annotated[PositiveFloat, Tag("[value]")] | Annotated[Literal["learned"], Tag("[word]")],
    WORD_OR_VALUE,
]


class Block(BaseModel):
    """A block of the file: no unknown keys, no silent conversion of types."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True
    )


Scalar = bool | int | float | str
