"""From what was typed, in a flag, a TOML file or Python, to a checked value or one clear line."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from sppkit.config.options import ModelOptions, RunConfig, parse_values
from sppkit.config.resolve import resolve_config
from sppkit.errors import UsageError
from sppkit.models.spec import build_spec

ACCEPTED = {
    "text": ("stages", " 3, 4 ", (3, 4)),
    "list": ("stages", [3, 4], (3, 4)),
    "NumPy array": ("stages", np.array([3, 4]), (3, 4)),
    "NumPy integer": ("depth", np.int64(50), 50),
    "NumPy float": ("width", np.float32(0.125), 0.125),
    "NumPy truth": ("se", np.True_, True),
    "most stages": ("stages", [1] * 10, (1,) * 10),
    "largest depth": ("depth", 3_000_000, 3_000_000),
    "smallest stochastic depth": ("stochastic_depth", 0, 0.0),
    "exact": ("gain", "exact", "exact"),
    "largest seed": ("seed", 2**63 - 1, 2**63 - 1),
    "formats": ("format", "svg, png,svg", ("svg", "png")),
}


@pytest.mark.parametrize(("name", "value", "expected"), ACCEPTED.values(), ids=ACCEPTED)
def test_values_are_taken(name: str, value: object, expected: object) -> None:
    parsed = parse_values(RunConfig, {name: value})[name]
    assert parsed == expected
    assert type(parsed) is type(expected)


STAGES = "--stages must be 1 to 10 whole numbers from 1 to 1000000 with commas between, as in 3,4,6,3, not"
FACTOR = "a number of more than 0 and at most 1e+30, not"
REFUSED = {
    "no stages": ("stages", [], f"{STAGES} []."),
    "empty text": ("stages", "", f"{STAGES} ''."),
    "mapping": ("stages", {1: 2}, f"{STAGES} {{1: 2}}."),
    "one number": ("stages", 5, f"{STAGES} 5."),
    "a hole": ("stages", "3,,4", f"{STAGES} '3,,4'."),
    "zero": ("stages", "3,0", f"{STAGES} '3,0'."),
    "fractions": ("stages", (1.0, 1), f"{STAGES} (1.0, 1)."),
    "eleven stages": ("stages", [1] * 11, STAGES),
    "truth as number": ("width", True, "--width must be a number of more than 0 and at most 1000, not True."),
    "too wide": ("width", 1001, "at most 1000, not 1001."),
    "nan": ("width", float("nan"), "not nan."),
    "underscore": ("width", "1_0", "not '1_0'."),
    "digits without end": ("width", 10**5000, "not a number of thousands of digits."),
    "text without end": ("width", "x" * 500, "xxx...."),
    "depth": ("depth", 10**12, "--depth must be a whole number from 1 to 3000000, not 1000000000000."),
    "half a depth": ("depth", 50.5, "not 50.5."),
    "alpha": ("alpha", 1e200, "--alpha must be a number from 0 to 1e+30, not 1e+200."),
    "skip gain": ("skip_gain", "-1e31", "--skip-gain must be a number from -1e+30 to 1e+30, not '-1e31'."),
    "gain": ("gain", 1e39, f"--gain must be 'exact' or {FACTOR} 1e+39."),
    "no gain": ("gain", 0, f"--gain must be 'exact' or {FACTOR} 0."),
    "stochastic depth": ("stochastic_depth", 1.5, "--stochastic-depth must be a number from 0 to 1, not 1.5."),
    "truth": ("se", 1, "--se must be true or false, not 1."),
    "image size": ("image_size", 100_001, "--image-size must be a whole number from 1 to 100000, not 100001."),
    "batch size": ("batch_size", 10**7, "--batch-size must be a whole number from 1 to 1000000, not 10000000."),
    "batches": ("batches", 10**9, "--batches must be a whole number from 1 to 1000000, not 1000000000."),
    "warm-up": ("warmup", 10**9, "--warmup must be a whole number from 0 to 1000000, not 1000000000."),
    "seed": ("seed", 2**63, "--seed must be a whole number from 0 to 9223372036854775807, not 9223372036854775808."),
    "bytes": ("padding", b"zeros", "unknown --padding \"b'zeros'\""),
    "long name": ("activation", "y" * 10_000, "unknown activation '" + "y" * 60 + "'."),
    "trailing comma": ("format", "png,", "--format must be names with commas between, not 'png,'."),
    "no format": ("format", [], "--format must be names with commas between, not []."),
    "control character": ("out", "a\x1bb", r"--out must be a folder without control characters in it, not 'a\x1bb'."),
    "no folder": ("out", "", "--out must be a text that is not empty, not ''."),
    "name": ("name", "a/b", "--name must be a file name, not a path ('a/b'); --out DIR names the folder."),
}


@pytest.mark.parametrize(("name", "value", "message"), REFUSED.values(), ids=REFUSED)
def test_values_are_refused(name: str, value: object, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        parse_values(RunConfig, {name: value})


def test_unknown_options_are_spelled_as_where_they_stand() -> None:
    with pytest.raises(UsageError, match=r"(?s)'batch-siz'; did you mean 'batch-size'\?.*Known: .*stochastic-depth"):
        parse_values(RunConfig, {"batch_siz": 3})
    with pytest.raises(UsageError, match=r"(?s)'skip_gian'; did you mean 'skip_gain'\?.*Known: .*stochastic_depth"):
        parse_values(ModelOptions, {"skip_gian": 3})


BAD_FILES = {
    "digits without end": (b"depth = " + b"9" * 5000, "is not valid TOML: a number or a nesting in it has no end"),
    "brackets without end": (b"depth = " + b"[" * 100_000, "is not valid TOML: a number or a nesting in it has no end"),
    "syntax": (b"depth = ", "is not valid TOML: Invalid value"),
    "not text": (b"\xff\xfe", "can't read the configuration .*: it is not UTF-8 text. Give --config a TOML file"),
    "table": (b"[run]\ndepth = 5", "x.toml: unknown option 'run'"),
    "date": (b"depth = 2020-01-01", "x.toml: --depth must be a whole number"),
    "both sizes": (b"shape = [3, 8, 8]\nimage-size = 8", "--shape and --image-size both say"),
}


@pytest.mark.parametrize(("content", "message"), BAD_FILES.values(), ids=BAD_FILES)
def test_bad_files_are_refused(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_bytes(content)
    with pytest.raises(UsageError, match=message):
        resolve_config({}, tmp_path / "x.toml")


def test_a_byte_order_mark_and_carriage_returns_are_accepted(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_bytes(b"\xef\xbb\xbfdepth = 50\r\nwidth = 0.5\r\n")
    config = resolve_config({}, tmp_path / "x.toml").config
    assert (config.depth, config.width) == (50, 0.5)


def test_a_flag_for_the_size_replaces_the_file(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text("shape = [3, 8, 8]\nstages = [1]\n")
    config = resolve_config({"image_size": "16", "depth": "50"}, tmp_path / "x.toml").config
    assert (config.shape, config.image_size, config.stages, config.depth) == (None, 16, None, 50)


CONTRADICTIONS = {
    "sizes": ({"shape": "3,8,8", "image_size": "8"}, "--shape and --image-size both say how large the input is"),
    "seeds": ({"seed": 2**63 - 2, "seeds": 3}, f"goes beyond the largest seed, {2**63 - 1}"),
}


@pytest.mark.parametrize(("flags", "message"), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_contradictions_are_refused(flags: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolve_config(flags)


def test_the_last_seed_is_allowed() -> None:
    assert resolve_config({"seed": 2**63 - 2, "seeds": 2}).config.seeds == 2


WRONG_CALLS = {
    "no architecture": (None, {}, "which network"),
    "number": (3, {}, "which network"),
    "array": (np.zeros(3), {}, "which network"),
    "too many blocks": ("he-resnet", {"stages": [999_999, 2]}, "--stages must have at most 1000000 blocks together"),
    "truth": ("he-resnet", {"stages": [1], "width": True}, "--width must be a number"),
    "depth and stages": ("he-resnet", {"stages": [1], "depth": 50}, "both say how many blocks"),
    "activation": ("he-resnet", {"stages": [1], "activation": 3}, "unknown activation '3'"),
}


@pytest.mark.parametrize(("arch", "given", "message"), WRONG_CALLS.values(), ids=WRONG_CALLS)
def test_python_gets_the_same_words(arch: object, given: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build_spec(arch, given)
