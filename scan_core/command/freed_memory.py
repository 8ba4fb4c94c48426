"""Memory that a process has freed stays with it, for what it computes next.

The full-size network's activations are tens of megabytes each, made and freed many times for every
image. By default the C library returns such pieces to the kernel at once, which clears them page by
page when they are asked for again: `python -m benchmarks.allocator` measures what that costs.
"""

import ctypes
import os

# Numbers of glibc's <malloc.h>.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_LARGEST = 2**31 - 1
_SETTINGS_OF_ONES_OWN = ("MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")


def keep_freed_memory() -> bool:
    """Tell glibc to keep what is freed; the peak of the memory in use stays nearly the same.

    Nothing is changed where the environment has settings of glibc's allocator, or where the C
    library is another one.

    Returns:
        whether it was told.
    """
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    if "glibc.malloc." in tunables or any(name in os.environ for name in _SETTINGS_OF_ONES_OWN):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, _LARGEST))
