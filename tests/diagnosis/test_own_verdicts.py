"""What is said of networks that theory does not know: each sentence where it is true, and none where it is false."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING, Any

import pytest
import torch
from test_diagnosis_own import Transformer, he, initialized, mlp, vgg
from torch import nn
from torch.nn import functional
from typer.testing import CliRunner

import sppkit
from sppkit.cli.app import app
from sppkit.curves.curves import Curves
from sppkit.diagnosis.summary import iter_findings

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    from torch import Tensor

STATS = "spp,gradient_second_moment,instance_style_share,equal_channels"
PICTURES = torch.randn(16, 3, 32, 32, generator=torch.Generator().manual_seed(0))
VECTORS = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
TOKENS = torch.randint(100, (16, 32), generator=torch.Generator().manual_seed(0))


def measured(make: Callable[[], nn.Module], x: Tensor, seeds: int = 2) -> pd.DataFrame:
    import pandas as pd

    tables = []
    for seed in range(seeds):
        torch.manual_seed(seed)
        tables.append(sppkit.measure(make(), x, mode="train", seed=seed, stats=STATS))
    return pd.concat(tables, ignore_index=True)


def judged(make: Callable[[], nn.Module], x: Tensor) -> dict[str, str]:
    table = measured(make, x)
    found = {one.name: one.severity for one in sppkit.diagnose(table)}
    assert sppkit.check(table).passed == ("error" not in found.values())
    return found


def said(table: pd.DataFrame, run: dict[str, Any] | None = None) -> list[str]:
    lines = [item.one_line.plain for item in iter_findings(Curves(table, run or {}))]
    return [line.rstrip() for line in lines if line[:4] in {"ok  ", "note", "WARN", "BAD "}]


class Basic(nn.Module):
    """A post-activation block of a ResNet without normalizers."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(inside, outside, 3, stride, 1), nn.Conv2d(outside, outside, 3, 1, 1)
        projects = stride != 1 or inside != outside
        self.shortcut = nn.Conv2d(inside, outside, 1, stride) if projects else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.second(functional.relu(self.first(x))) + self.shortcut(x))


def resnet18(width: int = 16) -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(3, width, 3, 1, 1), nn.ReLU()]
    inside = width
    for stage in range(4):
        for block in range(2):
            outside = width * 2**stage
            layers.append(Basic(inside, outside, 2 if stage and not block else 1))
            inside = outside
    return nn.Sequential(*layers)


class Scaled(nn.Module):
    """A normalizer-free block: x + alpha f(x / beta)."""

    def __init__(self, width: int, alpha: float, beta: float) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(width, width, 3, 1, 1), nn.Conv2d(width, width, 3, 1, 1)
        self.alpha, self.beta = alpha, beta

    def forward(self, x: Tensor) -> Tensor:
        out = self.second(functional.relu(self.first(functional.relu(x / self.beta))))
        return x + self.alpha * out


def normalizer_free(alpha: float = 0.2, width: int = 32) -> nn.Module:
    betas = [(1 + block * alpha**2) ** 0.5 for block in range(8)]
    return nn.Sequential(nn.Conv2d(3, width, 3, 1, 1), *(Scaled(width, alpha, beta) for beta in betas))


def of_weights(std: float) -> Callable[[Tensor], Any]:
    return lambda weight: nn.init.normal_(weight, std=std)


# The false greens of the issue.


def test_a_resnet_18_without_normalizer_and_with_default_weights_is_not_called_ok() -> None:
    table = measured(resnet18, PICTURES)
    variance = table.groupby("block")["channel_variance"].mean()
    assert variance.iloc[1] > 100 * variance.iloc[-1]
    found = {one.name: one.severity for one in sppkit.diagnose(table)}
    assert found == {"mean-shift": "warning", "vanishing-variance": "remark"}
    lines = said(table)
    assert not [line for line in lines if line.startswith("ok")]
    assert "ReLU" not in "".join(lines)


def test_a_transformer_drawn_with_deviation_1_fails_and_hears_nothing_of_small_embeddings() -> None:
    table = measured(lambda: initialized(Transformer(embedding=1.0), of_weights(1.0)), TOKENS)
    found = {one.name: one for one in sppkit.diagnose(table)}
    assert {name: one.severity for name, one in found.items()} == {
        "dominant-branch": "warning", "gradient-growth": "error"
    }  # fmt: skip
    assert "embedding" not in "".join(one.text for one in found.values())


def test_what_is_before_a_weak_streams_branch_is_told_by_its_number() -> None:
    make = lambda: initialized(Transformer(embedding=0.02), of_weights(0.15))  # noqa: E731
    [one] = [one for one in sppkit.diagnose(measured(make, TOKENS)) if one.name == "dominant-branch"]
    assert one.severity == "remark"
    assert "what comes before it has 0.000392" in one.cause


def test_faint_branches_are_warned_of_and_meant_ones_are_not() -> None:
    assert judged(normalizer_free, PICTURES) == {"faint-branches": "warning"}
    assert judged(lambda: initialized(normalizer_free(), he), PICTURES) == {}
    silent = judged(lambda: Transformer(scale=1e-6), TOKENS)
    assert silent == {"dead-branch": "remark"}


def test_an_nf_resnet_loaded_as_a_users_model_is_not_praised_for_branches_that_sag() -> None:
    torch.manual_seed(0)
    model = sppkit.build_model("nf-resnet", depth=50, width=0.125)
    table = sppkit.measure(model, torch.randn(4, 3, 64, 64))
    means = table.iloc[1:].groupby("stage")["residual_variance"].mean()
    assert means.max() > 1.5 * means.min()
    [line] = [line for line in said(table) if "residual variance is" in line]
    assert line.startswith("note ")


def test_an_nf_regnet_of_which_a_thousandth_is_left_is_a_note() -> None:
    torch.manual_seed(0)
    from sppkit.config.resolve import resolve_config
    from sppkit.measuring.run import run

    result = run(resolve_config({"arch": "nf-regnet", "variant": "b0", "image_size": 64}))
    variance = result.table["channel_variance"]
    assert variance.iloc[1] > 100 * variance.iloc[-1]
    [line] = [line for line in said(result.table, result.record) if "variance vanishes" in line]
    assert line.startswith("note ")
    assert not [line for line in said(result.table, result.record) if line.startswith("ok   The variance")]


def test_branches_on_photographs_are_not_ok_because_theory_expects_others() -> None:
    from signal_tables import NF, record, table

    run = record(NF, 1.0) | {"input": {"kind": "folder", "batch_shape": [8, 3, 64, 64], "batches": 1}}
    lines = said(table(((4, 6), (4, 6)), 0.0, ((1.7, 1.7), (2.02, 2.02))), run)
    [line] = [line for line in lines if "residual variance is" in line]
    assert line == (
        "note The residual variance is 1.7, 2.02 as stage means; theory expects 1 of Gaussian input without borders."
    )


# The rules that only networks without a record have.


class Attention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.qkv(x).chunk(3, -1)
        return self.out(functional.scaled_dot_product_attention(query, key, value))


class Attentive(nn.Module):
    """Attention alone, layer over layer, with skip connections or without."""

    def __init__(self, depth: int, skip: bool) -> None:
        super().__init__()
        self.tokens = nn.Embedding(100, 32)
        self.norms = nn.ModuleList(nn.LayerNorm(32) for _ in range(depth))
        self.layers = nn.ModuleList(Attention(32) for _ in range(depth))
        self.skip = skip

    def forward(self, x: Tensor) -> Tensor:
        x = self.tokens(x)
        for norm, layer in zip(self.norms, self.layers, strict=True):
            x = x + layer(norm(x)) if self.skip else layer(norm(x))
        return x


def test_tokens_become_alike_without_skip_connections_and_only_then() -> None:
    assert judged(lambda: Attentive(6, skip=False), TOKENS)["alike-positions"] == "error"
    assert "alike-positions" not in judged(lambda: Attentive(6, skip=True), TOKENS)
    # A global pooling leaves one position, and pictures of one colour are the input's business.
    assert "alike-positions" not in judged(lambda: vgg(norm=True), PICTURES)
    assert "alike-positions" not in judged(
        lambda: vgg(norm=True), PICTURES.mean((2, 3), keepdim=True).expand(-1, -1, 32, 32)
    )


def constant() -> nn.Module:
    return initialized(mlp(3, nn.ReLU), lambda weight: nn.init.constant_(weight, 0.05))


def test_units_of_constant_weights_are_one() -> None:
    assert judged(constant, VECTORS)["equal-units"] == "error"
    assert "equal-units" not in judged(lambda: initialized(mlp(3, nn.ReLU), he), VECTORS)
    # Dead units are equal, and no constant initialization.
    assert "equal-units" not in judged(
        lambda: initialized(mlp(3, nn.ReLU), lambda weight: nn.init.constant_(weight, 0.0)), VECTORS
    )


class Frozen(nn.Module):
    def __init__(self, depth: int, learns: bool) -> None:
        super().__init__()
        self.body, self.head, self.learns = mlp(depth, nn.ReLU), nn.Linear(10, 10), learns

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x)
        return self.head(x if self.learns else x.detach())


def test_layers_without_a_gradient_fail_where_they_pass_on_little() -> None:
    assert judged(lambda: Frozen(6, learns=False), VECTORS)["no-gradient"] == "error"
    few = judged(lambda: Frozen(1, learns=False), VECTORS)
    assert ("no-gradient" in few, few["cut-gradient"]) == (False, "warning")
    assert "no-gradient" not in judged(lambda: Frozen(6, learns=True), VECTORS)


def shifted(bias: float) -> nn.Module:
    model = initialized(mlp(6, nn.ReLU), he)
    with torch.no_grad():
        for layer in model:
            if isinstance(layer, nn.Linear):
                layer.bias.normal_(std=bias)
    return model


def test_a_common_part_that_drowns_what_differs_fails_and_a_large_one_does_not() -> None:
    assert judged(lambda: shifted(1000.0), VECTORS)["identical-samples"] == "error"
    assert "identical-samples" not in judged(lambda: shifted(3.0), VECTORS)
    # Default weights leave less of what differs, and next to nothing common that a step would move.
    assert "error" not in judged(lambda: mlp(8, nn.ReLU), VECTORS).values()


class PostNorm(nn.Module):
    def __init__(self, depth: int, init: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.tokens = nn.Linear(12, 32)
        self.norms = nn.ModuleList(nn.LayerNorm(32) for _ in range(depth))
        self.layers = nn.ModuleList(Attention(32) for _ in range(depth))
        initialized(self, init)

    def forward(self, x: Tensor) -> Tensor:
        x = self.tokens(
            x.unflatten(2, (16, 2)).unflatten(4, (16, 2)).permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
        )
        for norm, layer in zip(self.norms, self.layers, strict=True):
            x = norm(x + layer(x))
        return x


def test_deep_post_norm_transformers_of_large_weights_lose_their_tokens() -> None:
    assert "error" in judged(lambda: PostNorm(24, he), PICTURES).values()
    assert "error" not in judged(lambda: PostNorm(4, of_weights(32**-0.5)), PICTURES).values()


class Cell(nn.Module):
    """A plain recurrent cell, called once for each of the input's values."""

    def __init__(self, calls: int, gain: float) -> None:
        super().__init__()
        self.hidden, self.activation, self.calls = nn.Linear(64, 64), nn.Tanh(), calls
        nn.init.orthogonal_(self.hidden.weight, gain)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.calls):
            x = self.activation(self.hidden(x))
        return x


def test_deep_plain_networks_fail_by_a_smaller_growth_and_recurrent_ones_have_two_modules() -> None:
    deep = lambda: mlp(90, nn.ReLU, width=48)  # noqa: E731
    assert judged(lambda: initialized(deep(), he), VECTORS)["gradient-growth"] == "error"
    assert "gradient-growth" not in judged(lambda: initialized(mlp(30, nn.ReLU, width=48), he), VECTORS)
    assert "gradient-growth" not in judged(lambda: Cell(90, 1.0), VECTORS)
    assert judged(lambda: Cell(90, 2.0), VECTORS)["gradient-growth"] == "error"


@pytest.mark.parametrize("depth", [2, 8])
def test_small_embeddings_beside_large_common_branches_do_not_fail(depth: int) -> None:
    class Branch(nn.Module):
        """Embeddings of deviation 0.02, and a normalizer behind each branch: the first one adds the same to all."""

        def __init__(self) -> None:
            super().__init__()
            self.tokens = nn.Embedding(100, 32)
            nn.init.normal_(self.tokens.weight, std=0.02)
            self.layers = nn.ModuleList(nn.Linear(32, 32) for _ in range(depth))
            self.norms = nn.ModuleList(nn.LayerNorm(32) for _ in range(depth))

        def forward(self, x: Tensor) -> Tensor:
            x = self.tokens(x)
            for layer, norm in zip(self.layers, self.norms, strict=True):
                x = x + norm(layer(x))
            return x

    assert "error" not in judged(Branch, TOKENS).values()


class Positioned(nn.Module):
    """A transformer whose positions have a scale of their own; ``sharpness`` multiplies the logits."""

    def __init__(self, positions: float = 0.02, sharpness: float = 1.0, blocks: int = 3, width: int = 32) -> None:
        super().__init__()
        self.tokens, self.sharpness = nn.Embedding(100, width), sharpness
        self.positions = nn.Parameter(positions * torch.randn(32, width))
        self.parts = nn.ModuleList(nn.Linear(width, 3 * width) for _ in range(blocks))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(blocks))
        self.outs = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.tokens(tokens) + self.positions
        for part, norm, out in zip(self.parts, self.norms, self.outs, strict=True):
            query, key, value = part(norm(x)).chunk(3, -1)
            x = x + out(functional.scaled_dot_product_attention(self.sharpness * query, key, value))
        return x


def test_an_input_that_drowns_in_positions_or_biases_fails_and_one_that_is_heard_does_not() -> None:
    assert judged(lambda: Positioned(1e4), TOKENS)["drowned-input"] == "error"
    assert "drowned-input" not in judged(lambda: Positioned(10.0), TOKENS)  # a hundredth of the second moment
    assert judged(lambda: mlp(3, nn.ReLU), 1e-5 * VECTORS)["drowned-input"] == "error"  # in the biases
    assert "drowned-input" not in judged(lambda: mlp(3, nn.ReLU), 1e-2 * VECTORS)
    # One sample, or many that are the same, are no network's fault.
    assert "drowned-input" not in judged(Positioned, TOKENS[:1])
    assert "drowned-input" not in judged(Positioned, TOKENS[:1].expand(8, -1))


@pytest.mark.parametrize("grad", [True, False])
def test_a_last_row_that_cannot_be_differentiated_is_warned_of(
    grad: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = f"""
        import torch
        from torch import nn

        class Part(nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = nn.Linear(16, 16)

            def forward(self, x):
                return x + torch.relu(self.inner(x))

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.parts, self.head = nn.Sequential(*[Part() for _ in range(3)]), nn.Linear(16, 4)

            def forward(self, x):
                with torch.set_grad_enabled({grad}):
                    x = self.parts(x)
                return self.head(x)
    """
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(dedent(source), encoding="utf-8")
    told = CliRunner().invoke(app, ["check", "--model", "net.py:Net", "--shape", "16", "--batch-size", "8"])
    assert told.exit_code == 0
    assert ("the last row: its value can't be differentiated" in told.output.replace("\n", " ")) is not grad


def test_a_loud_output_fails_and_a_large_one_does_not() -> None:
    def network(last: float) -> nn.Module:
        made = initialized(mlp(3, nn.ReLU), he)
        linear = [layer for layer in made.modules() if isinstance(layer, nn.Linear)]
        linear[-1].weight.data.mul_(last)
        return made

    table = measured(lambda: network(3e3), VECTORS)
    [found] = [one for one in sppkit.diagnose(table) if one.name == "loud-output"]
    rows = table[table["block"] == table["block"].max()]
    assert found.fact.startswith(
        f"The values at the end are of size {(rows.channel_variance + rows.channel_squared_mean).mean() ** 0.5:.3g}"
    )
    assert found.found > found.limit
    assert not sppkit.check(table).passed
    assert "loud-output" not in judged(lambda: network(100.0), VECTORS)


def test_a_loud_output_of_a_common_part_is_told_by_its_mean() -> None:
    def network() -> nn.Module:
        made = initialized(mlp(3, nn.ReLU), he)
        last = [layer for layer in made.modules() if isinstance(layer, nn.Linear)][-1]
        nn.init.constant_(last.bias, 3e3)
        return made

    [found] = [one for one in sppkit.diagnose(measured(network, VECTORS)) if one.name == "loud-output"]
    assert found.statistic == "channel_squared_mean"
    assert found.found > found.limit


@pytest.mark.parametrize(("sharpness", "severity"), [(1.0, None), (30.0, "warning"), (1e4, "warning")])
def test_attention_that_looks_at_few_keys_is_warned_of(sharpness: float, severity: str | None) -> None:
    torch.manual_seed(0)
    table = sppkit.measure(Positioned(sharpness=sharpness), TOKENS, stats=f"{STATS},attention_entropy")
    found = [one for one in sppkit.diagnose(table) if one.name == "saturated-attention"]
    assert [one.severity for one in found] == ([severity] if severity else [])
    if severity:
        assert f"is {table['attention_entropy'].mean():.2g} of that of uniform ones in the mean" in found[0].fact
    # Nothing is said of what was not measured.
    assert "saturated-attention" not in judged(lambda: Positioned(sharpness=sharpness), TOKENS)


@pytest.mark.parametrize(("gain", "warned"), [(1.0, False), (20.0, True)])
def test_saturated_activations_are_warned_of(gain: float, warned: bool) -> None:
    torch.manual_seed(0)
    model = mlp(4, nn.Tanh)
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=gain * layer.in_features**-0.5)
    table = sppkit.measure(model, VECTORS, stats=f"{STATS},saturated_fraction")
    found = [one for one in sppkit.diagnose(table) if one.name == "saturated-activations"]
    assert [one.severity for one in found] == ["warning"] * warned
    if warned:
        assert found[0].fact.startswith(f"{table['saturated_fraction'].mean():.0%} of what bounded activations take")
