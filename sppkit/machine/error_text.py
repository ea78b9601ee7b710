"""What another library says of a damaged file, in the few words that a message of ours has room for."""

from __future__ import annotations

# With the file's name and the remedy around it, the message still is two lines on a terminal.
LENGTH = 100


def short_reason(error: BaseException) -> str:
    r"""Return the first sentence of an error's text, without its full stop.

    Libraries quote the damaged bytes themselves: what can't be printed becomes a question mark, and the text is cut.

    >>> short_reason(OSError(13, "Permission denied", "secret.png"))
    'Permission denied'
    >>> short_reason(ValueError("bad\x00byte. This is an internal error.\nSee the manual."))
    'bad?byte'
    """
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    sentence = next(iter(text.strip().splitlines()), "").partition(". ")[0].rstrip(". ")
    printable = "".join(letter if letter.isprintable() else "?" for letter in sentence)
    return printable if len(printable) <= LENGTH else printable[: LENGTH - 3] + "..."
