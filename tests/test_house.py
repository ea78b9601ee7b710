"""The house rules that a linter cannot see: what is imported when."""

from __future__ import annotations

import subprocess
import sys

import pytest

import sppkit

HEAVY = ("torch", "pandas", "matplotlib", "PIL", "safetensors", "numpy", "sympy")


def imported_by(code: str) -> set[str]:
    probe = f"{code}\nimport sys; print(*[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    return set(done.stdout.split("\n")[-2].split())


def invoke(*arguments: str) -> str:
    return (
        f"import sys; sys.argv = ['sppkit', *{list(arguments)}]\n"
        "from sppkit.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass"
    )


@pytest.mark.parametrize("arguments", [["--help"], ["plot", "--help"], ["--version"], ["list"]], ids=" ".join)
def test_help_and_list_import_nothing_heavy(arguments: list[str]) -> None:
    assert imported_by(invoke(*arguments)) == set()


def test_a_refused_option_imports_no_torch() -> None:
    assert "torch" not in imported_by(invoke("plot", "--arch", "nf-resnt", "--depth", "50"))


def test_importing_the_package_imports_nothing_heavy() -> None:
    assert imported_by("import sppkit") == set()


def test_the_probe_of_imports_sees_them() -> None:
    assert imported_by("import sppkit; sppkit.build_model") >= {"torch", "numpy"}


def test_building_imports_no_sympy() -> None:
    # Torch's to_empty does, on the meta device: a third of a second.
    built = "sppkit.build_model('bn-relu-conv', stages=(1,), width=0.1, se=True)"
    assert imported_by(f"import sppkit; {built}") == {"torch", "numpy"}


def test_plotting_and_reading_need_no_torch() -> None:
    assert "torch" not in imported_by("import sppkit; sppkit.plot_spp, sppkit.read_csv, sppkit.write_csv")


@pytest.mark.parametrize("name", sppkit.__all__)
def test_every_public_name_can_be_imported(name: str) -> None:
    assert getattr(sppkit, name).__doc__


def test_public_names_survive_the_import_of_submodules() -> None:
    import sppkit.measuring.measure

    assert callable(sppkit.measure)


def test_unknown_public_name() -> None:
    with pytest.raises(AttributeError, match="module 'sppkit' has no attribute 'mesure'"):
        sppkit.mesure  # noqa: B018
