"""The callback in a Trainer: the same table as a monitor in a loop, and a resumed training goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import sppkit

pytest.importorskip("transformers", reason="transformers is not installed")
pytest.importorskip("accelerate", reason="accelerate is not installed")
pytestmark = pytest.mark.filterwarnings("default")

STEPS = 4


def build() -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    dropout = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    return GPT2LMHeadModel(GPT2Config(vocab_size=64, n_positions=16, n_embd=16, n_layer=2, n_head=2, **dropout))


def rows() -> list[dict[str, torch.Tensor]]:
    tokens = torch.randint(64, (4 * STEPS, 16), generator=torch.Generator().manual_seed(1))
    return [{"input_ids": row, "labels": row} for row in tokens]


def train(folder: Path, model: Any, callback: Any, *, steps: int = STEPS, resume: str | None = None) -> None:
    from transformers import Trainer, TrainingArguments

    settings: dict[str, Any] = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "save_steps": 2}
    arguments = TrainingArguments(
        str(folder), max_steps=steps, use_cpu=True, report_to=[], disable_tqdm=True, seed=0, max_grad_norm=0, **settings
    )
    data: Any = rows()
    Trainer(model, arguments, train_dataset=data, callbacks=[callback] if callback else []).train(resume)


def test_the_table_is_that_of_the_steps_and_training_is_unchanged(tmp_path: Path) -> None:
    from sppkit.integrations.transformers import SignalPropagation

    bare, watched, path = build(), build(), tmp_path / "spp.csv"
    callback = SignalPropagation(every=2, stats=("spp", "gradient"), to=f"csv:{path}")
    train(tmp_path / "bare", bare, None)
    train(tmp_path / "watched", watched, callback)
    table = callback.table()
    assert table["step"].unique().tolist() == [0, 2]
    assert table["passes"].eq(2).all()  # accumulated
    assert table["name"].nunique() == 5
    assert table["gradient_second_moment"].gt(0).all()
    assert all(torch.equal(a, b) for a, b in zip(bare.parameters(), watched.parameters(), strict=True))
    assert not any(module._forward_hooks for module in watched.modules())
    callback = SignalPropagation(every=2, stats=("spp", "gradient"), to=f"csv:{path}")
    train(tmp_path / "watched", build(), callback, steps=6, resume=str(tmp_path / "watched" / "checkpoint-2"))
    assert sppkit.read_csv(path)["step"].unique().tolist() == [0, 2, 4]


def test_what_can_not_be_watched(tmp_path: Path) -> None:
    from transformers import TrainerControl, TrainerState, TrainingArguments

    from sppkit.integrations.transformers import SignalPropagation

    compiled = TrainingArguments(str(tmp_path), use_cpu=True)
    compiled.torch_compile = True
    with pytest.raises(sppkit.UsageError, match="the Trainer compiles its model"):
        SignalPropagation().on_train_begin(compiled, TrainerState(), TrainerControl(), build())
    with pytest.raises(sppkit.UsageError, match="there is no table yet: no training has begun"):
        SignalPropagation().table()
