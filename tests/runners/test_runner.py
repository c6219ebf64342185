"""What a runner passes on: schedule, weights, options, records."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.optim.swa_utils import AveragedModel

from milepost.callbacks import KeepBest, Loop, Record
from milepost.errors import UnknownNameError
from milepost.inferencers import Retrieval, ScalarStats
from milepost.runners import InferenceRunner, evaluate

ones = torch.ones(4, 1)


class Scale(nn.Module):
    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(float(scale)))

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return (input * self.scale)[:, 0]


def runner(**options: Any) -> InferenceRunner:
    return InferenceRunner([ones], [ScalarStats("output")], **options)


def test_a_record_holds_what_the_evaluation_cost() -> None:
    records: list[Record] = []
    loop = Loop(Scale(2), callbacks=[runner(every="at start")], monitors=[records.append])
    with loop:
        pass
    (record,) = records
    assert record.scalars == {"validation/output": 2.0}
    stages = ("load", "forward", "update", "compute", "total")
    names = [f"time/{stage}_s" for stage in stages] + ["samples_per_s", "peak_memory_bytes"]
    assert list(record.timings) == [f"validation/{name}" for name in names]
    times = {name: record.timings[f"validation/time/{name}_s"] for name in stages}
    assert min(times.values()) >= 0
    assert times.pop("total") >= sum(times.values())
    assert record.timings["validation/samples_per_s"] > 0
    assert record.timings["validation/peak_memory_bytes"] > 2**20


def test_averaged_weights_are_examined_and_kept(tmp_path: Path) -> None:
    model = Scale(2)
    average = AveragedModel(model)
    with torch.no_grad():
        model.scale.fill_(9)
    assert evaluate(model, [ones], [ScalarStats("output")], weights="ema", ema=average) == {
        "validation/output": 2.0
    }
    best = KeepBest("validation/output", mode="max", path=tmp_path / "best.safetensors")
    examined = runner(weights="ema", every="at start")
    with Loop(model, callbacks=[best, examined], ema=average, monitors=[]):
        pass
    assert load_file(tmp_path / "best.safetensors")["scale"].item() == 2.0


def test_the_best_weights_are_those_examined_whatever_the_order(tmp_path: Path) -> None:
    for place in (0, 1):
        model = Scale(1)
        best = KeepBest("validation/output", mode="max", path=tmp_path / f"{place}.safetensors")
        callbacks: list[Any] = [runner(every="1 step")]
        callbacks.insert(place, best)
        with Loop(model, callbacks=callbacks, monitors=[]) as loop:
            for value in loop.steps([1.0, 3.0, 2.0]):
                with torch.no_grad():
                    model.scale.fill_(value)
        assert best.best_step == 2
        assert load_file(tmp_path / f"{place}.safetensors")["scale"].item() == 3.0


def test_a_snapshot_is_examined_like_the_live_weights() -> None:
    assert evaluate(Scale(2), [ones], [ScalarStats("output")], weights="snapshot") == {
        "validation/output": 2.0
    }


def test_images_go_to_the_model_channels_last_if_asked() -> None:
    class Layout(nn.Module):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            last = input.is_contiguous(memory_format=torch.channels_last)
            return torch.full((len(input),), float(last))

    images = torch.rand(2, 3, 4, 4)
    for asked in (False, True):
        metrics = evaluate(Layout(), [images], [ScalarStats("output")], channels_last=asked)
        assert metrics == {"validation/output": float(asked)}


def test_the_progress_is_quiet_where_there_is_no_terminal(capfd: Any) -> None:
    evaluate(Scale(2), [ones], [ScalarStats("output")])
    assert capfd.readouterr() == ("", "")


def test_a_resumed_runner_keeps_the_phase_and_the_clock_of_its_schedule(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr("milepost.runners._runner.time.monotonic", lambda: now[0])

    def run(examined: InferenceRunner, seconds: int) -> list[bool]:
        due = []
        for _ in range(seconds):
            due.append(examined.maybe_run(Scale(2)) is not None)
            now[0] += 1
        return due

    whole = run(runner(every="20 s"), 45)
    first = runner(every="20 s")
    resumed = run(first, 16)
    for _ in range(2):  # two more jobs, each shorter than the period
        second = runner(every="20 s")
        second.load_state_dict(first.state_dict())
        now[0] += 1000  # time between jobs does not count
        resumed += run(second, 16)
        first = second
    assert [i for i, due in enumerate(whole) if due] == [20, 40]
    assert sum(resumed) == 2


def test_a_layer_of_a_model_called_model_is_found_by_its_whole_name() -> None:
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = nn.ModuleDict({"encoder": nn.Identity()})
            self.encoder = Scale(0.0)

        def forward(self, input: torch.Tensor) -> torch.Tensor:
            output: torch.Tensor = self.encoder(self.model["encoder"](input))
            return output

    metrics = evaluate(Wrapped(), [torch.ones(4)[:, None]], [ScalarStats("model.encoder")])
    assert metrics == {"validation/model.encoder": 1.0}


def test_a_field_named_like_a_layer_is_an_error_that_says_how_to_choose() -> None:
    model = nn.Sequential(nn.Identity(), Scale(2))
    with pytest.raises(ValueError, match="both a field of the batch and an output or layer"):
        evaluate(model, [{"0": ones}], [ScalarStats("0")])
    assert evaluate(model, [{"0": ones}], [ScalarStats("model.0", "batch.0")]) == {
        "validation/model.0": 1.0,
        "validation/batch.0": 1.0,
    }


def test_a_rehearsal_reads_two_rows_of_each_role_and_measures_nothing() -> None:
    seen: list[int] = []

    def forward(model: Any, batch: Any) -> Any:
        seen.append(len(batch["x"]))
        return {"output": batch["x"], "label": batch["x"]}

    sources = {"query": {"x": torch.ones(5)}, "gallery": {"x": torch.ones(0)}}
    runner = InferenceRunner(sources, [Retrieval()], forward=forward)
    runner.rehearse(nn.Identity())
    assert seen == [2]
    once = iter([{"x": torch.ones(3)}])
    InferenceRunner(once, [ScalarStats("x")]).rehearse(None)
    assert len(list(once)) == 1


@pytest.mark.parametrize("on_error", ["raise", "warn"])
def test_a_rehearsal_raises_what_would_end_the_training(on_error: Any) -> None:
    def fails(model: Any, batch: Any) -> Any:
        raise ZeroDivisionError

    options: Any = {"forward": fails, "on_error": on_error}
    data = {"x": torch.ones(3)}
    with pytest.raises(ZeroDivisionError) if on_error == "raise" else nullcontext():
        InferenceRunner(data, [ScalarStats("y")], **options).rehearse(nn.Identity())
    with pytest.raises(UnknownNameError, match=r"there are: 'x'. It is fetched by scalar_stats$"):
        InferenceRunner(data, [ScalarStats("y")], on_error=on_error).rehearse(None)


def test_one_source_for_queries_and_gallery_is_a_warning_unless_the_ids_are_shared() -> None:
    arrays = {"output": np.eye(4), "label": np.arange(4) % 2}
    roles = {"query": arrays, "gallery": arrays}
    with pytest.warns(UserWarning, match="each query finds its own copy; say `shared_ids=True`"):
        InferenceRunner(roles, [Retrieval()])
    InferenceRunner(roles, [Retrieval()], shared_ids=True)
    InferenceRunner({"query": arrays, "gallery": dict(arrays)}, [Retrieval()])
