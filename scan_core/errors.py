"""Errors that a person can act on."""


class InputError(ValueError):
    """Bad input: a parameter, a file or an archive is not what it has to be.

    The message is one paragraph that names the file or the key, says what was expected,
    and says what to do. Command lines print it alone, without a traceback, and exit with 1.
    """


class DiskFullError(InputError):
    """A file could not be written for want of space; every further one would fail as well."""
