"""The errors a person can mend, told apart from faults of the program."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class InputError(Exception):
    """Bad input: one line that says what is wrong, where, and what to do. The program ends with exit code 2.

    Raise it before any long work. The message is shown as it stands, without a traceback, so it must be complete:
    ``InputError("noise rate 1.4 is outside 0…1 (--noise-rate); give a share such as 0.4")``.
    """


class LoneError(InputError):
    """An `InputError` that this rank alone may know of, so that it speaks though it is not the first one."""


class TrainingFault(Exception):
    """Training cannot go on (exit code 1), for a reason that is known and said in one line."""


def nearest(name: str, known: list[str]) -> str:
    """``" (did you mean 'x'?)"`` for the known name closest to ``name``, or an empty string."""
    import difflib

    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f" (did you mean '{close[0]}'?)" if close else ""


def first_fault(error: "ValidationError") -> str:
    """Return the first complaint of a validation, as ``where: what``."""
    fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in fault["loc"])
    what = fault["msg"].removeprefix("Value error, ").replace("Input should be", "must be", 1)
    return f"{where}: {what}" if where else what
