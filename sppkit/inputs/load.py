"""From what a user types after ``--input`` to batches."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import NoReturn

from sppkit.config.shifts import parse_shift
from sppkit.errors import UsageError
from sppkit.inputs.arrays import load_array
from sppkit.inputs.batches import Inputs
from sppkit.inputs.decode import picture_extensions
from sppkit.inputs.gaussian import load_gaussian
from sppkit.inputs.pictures import load_pictures
from sppkit.inputs.shifted import shifted
from sppkit.inputs.stored import OPENERS
from sppkit.inputs.tokens import load_tokens

__all__ = ["Inputs", "load_inputs"]

LEGAL = f"gaussian, a folder of pictures, a picture, or a {', '.join(OPENERS)} file"


def load_inputs(
    source: str,
    *,
    shape: tuple[int, ...],
    batch_size: int,
    batches: int,
    seed: int,
    vocab: int | None = None,
    shift: str | None = None,
) -> Inputs:
    """Describe what is pushed through a network, and check it as far as that is cheap."""
    loaded = _load(source, shape, batch_size, batches, seed, vocab)
    return loaded if shift is None else shifted(loaded, parse_shift(shift), seed)


def _load(source: str, shape: tuple[int, ...], batch_size: int, batches: int, seed: int, vocab: int | None) -> Inputs:
    if source == "gaussian":
        return load_gaussian(shape=shape, batch_size=batch_size, batches=batches, seed=seed)
    if source == "tokens":
        if vocab is None:
            raise UsageError(
                "--input tokens is for language models; the named architectures take images.\n"
                "Type --input gaussian, or give a folder of pictures. (For a folder of that name, type ./tokens.)"
            )
        return load_tokens(shape=shape, vocab=vocab, batch_size=batch_size, batches=batches, seed=seed)
    path = Path(source)
    ending = path.suffix.lower()
    if _is_folder(source) or ending in picture_extensions():
        return load_pictures(source, shape=shape, batch_size=batch_size, batches=batches)
    if ending in OPENERS:
        return load_array(source, shape=shape, batch_size=batch_size, batches=batches, vocab=vocab)
    what = f"files ending in {path.suffix}" if path.suffix else "files without an extension"
    raise UsageError(f"--input {source}: {what} aren't known.\nGive {LEGAL}.")


def _is_folder(source: str) -> bool:
    """Tell a folder from a file."""
    path = Path(source)
    try:
        is_folder, is_file, exists = path.is_dir(), path.is_file(), path.exists()
    except OSError as error:  # a name that is too long, or a folder on the way that can't be entered
        raise UsageError(f"can't read --input {source}: {error.strerror}.\nGive {LEGAL}.") from error
    if not source or not exists:  # "" would be the current folder
        _refuse_missing(source)
    if not is_folder and not is_file:
        raise UsageError(f"--input {source} is neither a file nor a folder.\nGive {LEGAL}.")
    return is_folder


def _refuse_missing(source: str) -> NoReturn:
    if ".py:" in source:
        raise UsageError(
            f"--input {source}: a function of your own makes batches for a network of your own.\n"
            f"It goes with --model; a named architecture takes {LEGAL}."
        )
    close = difflib.get_close_matches(source.lower(), ["gaussian"])
    match = "; did you mean 'gaussian'?" if close else "."
    raise UsageError(f"no such file or folder as --input: {source!r}{match}\nGive {LEGAL}.")
