"""Weights from a file: what is found in it, what fits, what is said, and that nothing in it is run."""

from __future__ import annotations

import hashlib
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from networks import Net
from sppkit import build_model, measure
from sppkit.config.resolve import resolve_config
from sppkit.errors import UsageError
from sppkit.measuring.run import run
from sppkit.models.loading.checkpoint import read_checkpoint
from sppkit.models.loading.transfer import load_weights


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def trained() -> dict[str, torch.Tensor]:
    torch.manual_seed(7)
    return Net().state_dict()


def fresh() -> Net:
    torch.manual_seed(8)
    return Net()


def prefixed(prefix: str, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"{prefix}{name}": value for name, value in weights.items()}


def inside(name: str, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    # As torch.compile on a submodule leaves it.
    return {key.replace(f"{name}.", f"{name}._orig_mod."): value for key, value in weights.items()}


FILES: dict[str, tuple[Any, list[str]]] = {
    "plain": (lambda w: w, []),
    "ordered": (OrderedDict, []),
    "state_dict": (lambda w: {"state_dict": w, "epoch": 3}, ["found under 'state_dict'"]),
    "model, optimizer": (lambda w: {"model": w, "optimizer": {"state": {}}, "lr": 0.1}, ["found under 'model'"]),
    "nested": (lambda w: {"model": {"state_dict": w}}, ["found under 'model/state_dict'"]),
    "with an average": (lambda w: {"state_dict_ema": trained(), "state_dict": w}, ["found under 'state_dict'"]),
    "data-parallel": (lambda w: prefixed("module.", w), ["'module.' was taken off"]),
    "compiled": (lambda w: prefixed("_orig_mod.", w), ["'_orig_mod.' was taken off"]),
    "compiled inside": (lambda w: inside("blocks", w), ["'_orig_mod.' was taken off"]),
    "both": (lambda w: prefixed("module._orig_mod.", w), ["'module.' was taken off"]),
    "lightning": (
        lambda w: {"state_dict": prefixed("net.", w) | {"loss.weight": torch.ones(2)}},
        ["found under 'state_dict'", "'net.' was taken off", "1 of its 17 weights are not in the network and"],
    ),
    "half precision": (lambda w: {name: value.to(torch.float64) for name, value in w.items()}, []),
}  # fmt: skip


@pytest.mark.parametrize(("wrap", "said"), FILES.values(), ids=FILES)
def test_forms_of_a_file(wrap: Any, said: list[str]) -> None:
    weights = trained()
    torch.save(wrap(weights), "w.pt")
    model = fresh()
    notes = load_weights(model, read_checkpoint("w.pt"))
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert len(notes) == len(said)
    assert all(expected in note for expected, note in zip(said, notes, strict=True))


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth", "w.bin", "w"])
def test_kinds_of_files(name: str) -> None:
    weights = trained()
    save_file(weights, name) if name.endswith("safetensors") else torch.save(weights, name)
    checkpoint = read_checkpoint(name)
    model = fresh()
    assert load_weights(model, checkpoint) == []
    assert torch.equal(model.stem.weight, weights["stem.weight"])
    assert checkpoint.describe() == {"file": name, "sha256": hashlib.sha256(Path(name).read_bytes()).hexdigest()}


def test_the_old_format_of_torch() -> None:
    torch.save(trained(), "w.pt", _use_new_zipfile_serialization=False)
    load_weights(fresh(), read_checkpoint("w.pt"))


class Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("touched"),)


def endless() -> None:
    weights: dict[str, Any] = {}
    weights["model"] = weights
    torch.save(weights, "w.pt")


def cut_off() -> None:
    torch.save(trained(), "w.pt")
    Path("w.pt").write_bytes(Path("w.pt").read_bytes()[:-20])


UNREADABLE = {
    "endless": (endless, "holds no weights (a dict with the keys model)"),
    "cut off": (cut_off, "--checkpoint w.pt can't be read safely"),
    "missing": (lambda: "w.pt", "can't read --checkpoint w.pt: there is no such file."),
    "folder": (lambda: "..", "it is a folder; give the file in it."),
    "hostile": (lambda: torch.save({"a": Hostile()}, "w.pt"), "(it holds objects other than tensors)"),
    "pickle": (lambda: Path("w.pt").write_bytes(pickle.dumps(Hostile())), "can't be read safely"),
    "whole model": (lambda: torch.save(nn.Linear(2, 2), "w.pt"), "Save the weights alone: torch.save("),
    "empty": (lambda: Path("w.pt").write_bytes(b""), "can't be read safely"),
    "text": (lambda: Path("w.pt").write_text("hello"), "can't be read safely"),
    "no safetensors": (lambda: Path("w.safetensors").write_text("hello"), "can't be read safely"),
    "a list": (lambda: torch.save([torch.ones(2)], "w.pt"), "holds no weights (a list)"),
    "no tensors": (lambda: torch.save({"epoch": 3, "lr": 0.1}, "w.pt"), "holds no weights (a dict with the keys epoch"),
    "an empty dict": (lambda: torch.save({}, "w.pt"), "holds no weights (a dict)"),
}  # fmt: skip


@pytest.mark.parametrize(("write", "message"), UNREADABLE.values(), ids=UNREADABLE)
def test_files_that_are_refused(write: Any, message: str) -> None:
    written = write()
    file = written if isinstance(written, str) else next(Path().iterdir()).name
    with pytest.raises(UsageError) as caught:
        read_checkpoint(file)
    assert message in str(caught.value)
    assert "weights_only" not in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 2
    assert not Path("touched").exists()


def without(*names: str) -> dict[str, torch.Tensor]:
    return {name: value for name, value in trained().items() if name not in names}


UNFIT = {
    "missing": (
        lambda: without("stem.weight", "stem.bias"),
        "lacks 2 of the 16 weights of Net (stem.weight, stem.bias).\nThe options must make the very network",
    ),
    "renamed": (
        lambda: without("stem.bias") | {"stem.bais": torch.ones(8), "head": torch.ones(1)},
        "lacks 1 of the 16 weights of Net (stem.bias); 2 in the file are not in Net (stem.bais, head).\n"
        "Is 'stem.bias' called 'stem.bais' there?",
    ),
    "deeper": (
        lambda: without(*[name for name in trained() if name.startswith("blocks")]),
        "lacks 12 of the 16 weights of Net (blocks.0.branch.0.weight, blocks.0.branch.0.bias, "
        "blocks.0.branch.0.running_mean and 9 more)",
    ),
    "wider": (
        lambda: Net(width=6).state_dict(),
        "has another shape for 14 of the 16 weights of Net: stem.weight is 6×3×3×3, not 8×3×3×3, stem.bias is 6, not 8",
    ),
    "complex": (
        lambda: trained() | {"stem.bias": torch.ones(8, dtype=torch.cfloat)},
        "has torch.complex64 for stem.bias, which is torch.float32 in the network",
    ),
    "codes": (
        lambda: trained() | {"stem.weight": torch.ones(8, 3, 3, 3, dtype=torch.int8)},
        "has torch.int8 for stem.weight, which is torch.float32 in the network",
    ),
    "no values": (
        lambda: trained() | {"stem.bias": torch.ones(8, device="meta")},
        "has no values for stem.bias, or not as an ordinary tensor",
    ),
    "another network": (lambda: {"a": torch.ones(1)}, "lacks 14 of the 16 weights of Net"),
}  # fmt: skip


@pytest.mark.parametrize(("weights", "message"), UNFIT.values(), ids=UNFIT)
def test_weights_that_do_not_fit_change_nothing(weights: Any, message: str) -> None:
    torch.save(weights(), "w.pt")
    model = fresh()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(UsageError) as caught:
        load_weights(model, read_checkpoint("w.pt"))
    assert message in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_what_may_be_missing() -> None:
    # A counter that files from before torch 0.4.1 do not have, and a weight that is tied to one that is there.
    weights = {name: value for name, value in trained().items() if not name.endswith("num_batches_tracked")}
    torch.save(weights, "w.pt")
    assert load_weights(fresh(), read_checkpoint("w.pt")) == []

    tied = nn.ModuleDict({"embed": nn.Embedding(5, 3), "head": nn.Linear(3, 5, bias=False)})
    tied["head"].weight = tied["embed"].weight
    torch.save({"embed.weight": torch.full((5, 3), 2.0)}, "w.pt")
    assert load_weights(tied, read_checkpoint("w.pt")) == []
    assert bool((tied["head"].weight == 2).all())


def test_a_compiled_network_takes_plain_names() -> None:
    model = torch.compile(fresh(), backend="eager")
    torch.save(trained(), "w.pt")
    load_weights(model, read_checkpoint("w.pt"))
    assert torch.equal(model.state_dict()["_orig_mod.stem.weight"], trained()["stem.weight"])


def test_a_network_with_a_way_of_its_own_to_load() -> None:
    class Own(nn.Linear):
        def load_state_dict(self, *_: Any, **__: Any) -> None:
            raise KeyError("version")

    torch.save(Own(2, 2).state_dict(), "w.pt")
    with pytest.raises(UsageError, match=r"w\.pt: Own refuses it: 'version'"):
        load_weights(Own(2, 2), read_checkpoint("w.pt"))


SMALL = {"stages": "1,1", "width": "0.125", "image_size": "16", "batch_size": "2"}


def test_a_named_architecture_with_a_checkpoint() -> None:
    model = build_model("nf-resnet", stages=(1, 1), width=0.125, seed=5)
    torch.save({"state_dict": prefixed("module.", model.state_dict())}, "w.pt")
    result = run(resolve_config({"arch": "nf-resnet", **SMALL, "checkpoint": "w.pt", "seeds": "2"}))
    for seed in (0, 1):
        batch = torch.from_numpy(_gaussian((2, 3, 16, 16), seed))
        expected = measure(model, batch, mode="train", seed=seed)
        found = result.table[result.table["seed"] == seed].reset_index(drop=True)
        assert found["channel_variance"].tolist() == pytest.approx(expected["channel_variance"].tolist(), rel=1e-12)
    assert result.record["checkpoint"]["file"] == "w.pt"
    assert result.record["expected"] == {"residual_variance": None}
    assert any("'module.' was taken off" in warning for warning in result.warnings)


def _gaussian(shape: tuple[int, ...], seed: int) -> Any:
    import numpy as np

    from sppkit.streams import fill_normal

    numbers = np.empty(shape, np.float32)
    fill_normal(numbers, seed, "input/0")
    return numbers


def test_a_checkpoint_of_another_depth_is_refused() -> None:
    torch.save(build_model("nf-resnet", stages=(1,), width=0.125).state_dict(), "w.pt")
    with pytest.raises(UsageError, match="lacks 13 of the 29 weights of PreActivationResNet"):
        run(resolve_config({"arch": "nf-resnet", **SMALL, "checkpoint": "w.pt"}))
