"""What the processor says of itself."""

import platform
from functools import cache
from pathlib import Path

_ABOUT = Path("/proc/cpuinfo")


@cache
def about_processor(field: str) -> str:
    """A field of Linux's description, such as `vendor_id` and `model name`.

    Elsewhere, and where the field is missing, all that Python knows: on Windows that ends with the
    vendor's name.
    """
    if _ABOUT.is_file():
        for line in _ABOUT.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == field:
                return value.strip()
    return platform.processor() or platform.machine()
