"""The callback in a Lightning Trainer: steps of the optimizer, validation in between, and resuming."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader

import sppkit

lightning = pytest.importorskip("lightning.pytorch", reason="Lightning is not installed")
pytestmark = pytest.mark.filterwarnings("default")


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layer(x)


def module() -> Any:
    class Module(lightning.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.net = nn.Sequential(Residual(), Residual())

        def training_step(self, batch: torch.Tensor, _index: int) -> torch.Tensor:
            return functional.mse_loss(self.net(batch), batch)

        def validation_step(self, batch: torch.Tensor, _index: int) -> None:
            self.net(100 * batch)

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    return Module()


def fit(folder: Path, model: Any, callback: Any, *, steps: int = 4, resume: Path | None = None) -> Any:
    data = DataLoader(torch.randn(16, 8, generator=torch.Generator().manual_seed(2)), batch_size=2)
    trainer = lightning.Trainer(
        max_steps=steps, accelerator="cpu", accumulate_grad_batches=2, val_check_interval=2, default_root_dir=folder,
        callbacks=[callback] if callback else [], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(model, data, data, ckpt_path=resume)
    return trainer


def test_steps_are_those_of_the_optimizer_and_training_is_unchanged(tmp_path: Path) -> None:
    from sppkit.integrations.lightning import SignalPropagation

    bare, watched, path = module(), module(), tmp_path / "spp.csv"
    callback = SignalPropagation("net", every=2, stats=("spp", "gradient"), to=f"csv:{path}")
    fit(tmp_path, bare, None)
    trainer = fit(tmp_path, watched, callback)
    table = callback.table()
    assert table["step"].unique().tolist() == [0, 2]
    assert table["passes"].eq(2).all()  # accumulated, and without those of the validation
    assert table["channel_variance"].lt(10).all()
    assert all(torch.equal(a, b) for a, b in zip(bare.parameters(), watched.parameters(), strict=True))
    trainer.save_checkpoint(tmp_path / "4.ckpt")
    callback = SignalPropagation("net", every=2, stats=("spp", "gradient"), to=f"csv:{path}")
    fit(tmp_path, module(), callback, steps=6, resume=tmp_path / "4.ckpt")
    assert sppkit.read_csv(path)["step"].unique().tolist() == [0, 2, 4]


def test_a_module_that_is_not_called_is_told(tmp_path: Path) -> None:
    from sppkit.integrations.lightning import SignalPropagation

    model = module()
    with pytest.raises(sppkit.UsageError, match=r"no forward pass of the module was seen(.|\n)*module='net'"):
        fit(tmp_path, model, SignalPropagation())
    assert not any(item._forward_hooks for item in model.modules())
