from pathlib import Path

import torch
from torch import nn

from milepost.callbacks import Callback, Loop, Record


class Often(Callback):
    every = "1 step"

    def trigger(self) -> None: ...


def test_the_state_passes_the_safe_loader_of_torch(tmp_path: Path) -> None:
    with Loop(None, callbacks=[Often()], monitors=[]) as loop:
        list(loop.steps(range(3)))
        torch.save(loop.state_dict(), tmp_path / "loop.pt")
    loaded = torch.load(tmp_path / "loop.pt", weights_only=True)
    assert loaded["step"] == 3


def test_a_loss_with_a_gradient_is_logged_by_its_value() -> None:
    records: list[Record] = []
    with Loop(None, monitors=[records.append]) as loop:
        loop.log({"loss": torch.tensor([0.25], requires_grad=True) * 2})
        assert loop.monitors.get_latest("loss") == 0.5
    assert records[0].scalars == {"loss": 0.5}


def test_a_predictor_can_be_had_at_any_time() -> None:
    class Nearest(Callback):
        every = "2 steps"

        def setup(self) -> None:
            self.predict = self.trainer.get_predictor(outputs=["output"])
            self.seen: list[list[list[float]]] = []

        def trigger(self) -> None:
            self.seen.append(self.predict({"image": torch.ones(1, 1)})["output"].tolist())

    model = nn.Linear(1, 1, bias=False)
    ema = nn.Linear(1, 1, bias=False)
    nn.init.constant_(ema.weight, 7.0)
    nearest = Nearest()
    with Loop(model, callbacks=[nearest], monitors=[], ema=ema) as loop:
        for batch in loop.steps(range(4)):
            nn.init.constant_(model.weight, float(batch))
        predict = loop.get_predictor(weights="ema")
        assert predict({"image": torch.ones(1, 1)})["output"].tolist() == [[7.0]]
    assert nearest.seen == [[[1.0]], [[3.0]]]
    assert model.training
