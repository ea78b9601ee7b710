"""What a user can correct of what was found, and how what was found is shown."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

import sppkit
from sppkit.joins.render import render_joins
from zoo.case import image
from zoo.convolutional import DenseNet, Highway, RepVGG, ResNetV1Basic
from zoo.sequences import Mixer, Vgg

if TYPE_CHECKING:
    import pandas as pd


def variance(signal: Tensor, axis: int = 1) -> float:
    return float(signal.detach().double().movedim(axis, 1).transpose(0, 1).flatten(1).var(1, correction=0).mean())


def corrected(net: nn.Module, *joins: dict[str, object]) -> pd.DataFrame:
    return sppkit.measure(net, net.example(), sites={"join": list(joins)})


def test_a_join_is_dropped_by_name_or_by_pattern() -> None:
    net = ResNetV1Basic().eval()
    assert corrected(net, {"name": "layer1.0", "keep": False})["name"].tolist() == [
        "stem", "layer1.1", "layer2.0", "layer2.1",
    ]  # fmt: skip
    assert corrected(net, {"name": "layer2.*", "keep": False})["name"].tolist() == ["stem", "layer1.0", "layer1.1"]


def test_a_sum_that_was_rejected_is_a_join_after_all() -> None:
    net = RepVGG()
    x = net.example()
    table = corrected(net, {"name": "RepVGG~1", "keep": True})
    y = torch.relu(net.stem(x))
    assert table["name"].tolist() == ["stem", "RepVGG~1", "RepVGG"]
    np.testing.assert_allclose(table["channel_variance"][1], variance(net.dense(y) + net.point(y)), rtol=1e-5)
    np.testing.assert_allclose(table["residual_variance"][1], variance(net.point(y)), rtol=1e-5)
    swapped = corrected(net, {"name": "RepVGG~1", "swap": True})
    np.testing.assert_allclose(swapped["residual_variance"][1], variance(net.dense(y)), rtol=1e-5)


def test_a_sum_that_is_kept_replaces_the_rows_of_modules() -> None:
    class Heads(nn.Module):
        example = staticmethod(lambda: torch.randn(8, 4))

        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.a(x) + self.b(x)

    net = Heads()
    assert corrected(net)["name"].tolist() == ["a", "b"]
    assert corrected(net, {"name": "Heads~1", "keep": True})["name"].tolist() == ["stem", "Heads~1"]


def test_the_end_of_the_branch_is_a_modules_output() -> None:
    net = ResNetV1Basic().eval()
    x = torch.relu(net.bn1(net.conv1(net.example())))
    table = corrected(net, {"name": "layer1.0", "branch": "layer1.0.conv2"})
    block, x = net.layer1[0], net.pool(x)
    branch = block.conv2(torch.relu(block.bn1(block.conv1(x))))
    np.testing.assert_allclose(table["residual_variance"][1], variance(branch), rtol=1e-5)


def test_the_channel_axis_is_another_one() -> None:
    net = Mixer()
    x = net.embed(net.example())
    y = x + net.tokens(net.norm1(x).mT).mT
    table = corrected(net, {"name": "Mixer#1", "channel_axis": 1})
    assert table["channels"].tolist() == [5, 5, 6]
    np.testing.assert_allclose(table["channel_variance"][1], variance(y, 1), rtol=1e-5)
    np.testing.assert_allclose(table["residual_variance"][1], variance(y - x, 1), rtol=1e-4)


def test_corrections_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "sites.toml"
    file.write_text('[[join]]\nname = "Mixer#1"\nkeep = false\n')
    net = Mixer()
    for source in (file, str(file)):
        assert sppkit.measure(net, net.example(), sites=source)["name"].tolist() == ["stem", "Mixer#2"]
    assert len(sppkit.find_joins(net, net.example(), sites=file).joins) == 1


def test_corrections_are_for_models_that_declare_their_sites_too() -> None:
    model = sppkit.build_model("nf-resnet", stages=(1, 1), width=0.125)
    table = sppkit.measure(model, image(), sites={"join": [{"name": "blocks.0", "keep": False}]})
    assert table["name"].tolist() == ["stem", "blocks.1"]


REFUSED = {
    "a number": (3, "sites must be 'found', the path of a TOML file, or a mapping, not 3"),
    "no file": (
        "nowhere.toml",
        r"can't read the file of joins nowhere\.toml: .*Give a TOML file of \[\[",
    ),
    "another key": ({"joins": []}, r"sites is no list of corrections: it holds 'joins'\. Give a TOML file"),
    "no list": ({"join": {}}, "its join is no list of tables"),
    "no name": ({"join": [{"keep": True}]}, "sites, join 1: it has no name"),
    "unknown": (
        {"join": [{"name": "a", "axis": 1}]},
        "unknown key 'axis'. Known: name, keep, swap, branch, chan",
    ),
    "keep": ({"join": [{"name": "a", "keep": 1}]}, "keep must be true or false, not 1"),
    "axis": (
        {"join": [{"name": "a", "channel_axis": True}]},
        "channel_axis must be a whole number .*, not True",
    ),
    "misspelt": ({"join": [{"name": "layer1.3"}]}, r"'layer1\.3', which was not found; did you mean 'layer1\.\d'"),
    "nothing left": ({"join": [{"name": "*", "keep": False}]}, "the corrections leave no join to measure"),
    "no module": (
        {"join": [{"name": "layer1.0", "branch": "layer1.0.conv3"}]},
        r"no module 'layer1\.0\.conv3' has returned a signal before the join 'layer1\.0'; did you mean 'layer1",
    ),
    "a later module": (
        {"join": [{"name": "layer1.0", "branch": "fc"}]},
        "'fc' returns its signal only after the join 'layer1.0'",
    ),
    "outside": (
        {"join": [{"name": "layer1.0", "channel_axis": 4}]},
        r"channel_axis of 'layer1\.0' must be from 1 to 3, or from -3 to -1, not 4: its output has the shape \(4, 4, 4",
    ),
}


@pytest.mark.parametrize(("sites", "message"), REFUSED.values(), ids=REFUSED)
def test_corrections_that_mean_nothing_are_refused(sites: object, message: str) -> None:
    net = ResNetV1Basic()
    with pytest.raises(sppkit.UsageError, match=message):
        sppkit.measure(net, net.example(), sites=sites)


def test_invalid_toml_is_named(tmp_path: Path) -> None:
    file = tmp_path / "sites.toml"
    file.write_text("[[join]\n")
    with pytest.raises(sppkit.UsageError, match=r"sites\.toml is not valid TOML: "):
        sppkit.Probe(ResNetV1Basic(), sites=file)


def shown(net: nn.Module) -> str:
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(*render_joins(sppkit.find_joins(net, net.example())), sep="\n")
    return console.export_text()


SHOWN: dict[str, tuple[Callable[[], nn.Module], list[str]]] = {
    "additions": (
        ResNetV1Basic,
        [
            "ResNetV1Basic has 4 residual joins.",
            "native_batch_norm in layer1.0.bn2",
            "relu in layer1.0.relu (call 2)",
            "4×[6]×2×2",
            "(b) both sides were computed from one signal: the branch is the longer way (2 weights, not 1)",
        ],
    ),
    "rejected": (RepVGG, ["Sums that are no joins:", "RepVGG~1: both sides are equally long ways from one signal"]),
    "gated": (Highway, ["the skip is what the branch was computed from", "then scaled"]),
    "concatenations": (DenseNet, ["has no residual additions; 3 concatenations append features", "DenseNet#3"]),
    "modules": (Vgg, ["Vgg has no residual joins; it is measured at its 4 leaf modules.", "features.2"]),
}


@pytest.mark.parametrize(("build", "expected"), SHOWN.values(), ids=SHOWN)
def test_what_was_found_is_shown_with_its_reasons(build: Callable[[], nn.Module], expected: list[str]) -> None:
    text = shown(build())
    assert [line for line in expected if line not in text] == []


def test_what_was_found_can_be_printed() -> None:
    net = RepVGG()
    text = str(sppkit.find_joins(net, net.example()))
    assert text.splitlines()[0] == "RepVGG has 1 residual join."
    assert text.splitlines()[1].startswith(
        "RepVGG: 4×[4]×8×8; branch: add in the model itself; skip: relu in the model"
    )
    assert text.splitlines()[2:][0] == "No joins:"


def test_a_table_without_stages_is_written_read_and_drawn(tmp_path: Path) -> None:
    net = Vgg()
    table = sppkit.measure(net, net.example())
    assert table["stage"].isna().all()
    assert table["residual_variance"].isna().all()
    sppkit.write_csv(table, tmp_path / "vgg.csv")
    again = sppkit.read_csv(tmp_path / "vgg.csv")
    assert again["name"].tolist() == table["name"].tolist()
    assert again["stage"].isna().all()
    sppkit.plot_spp(again)


def test_a_notebook_shows_what_was_found_as_text() -> None:
    findings = sppkit.find_joins(nn.Sequential(nn.Linear(3, 3)), torch.randn(4, 3))
    assert findings._repr_html_() == f"<pre>{findings}</pre>"
