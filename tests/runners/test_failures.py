"""Bad input gives a clear error, logs nothing partial, and leaves the training intact."""

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from milepost.callbacks import Callback, Loop, Record, Solo
from milepost.callbacks.monitors import Monitors
from milepost.errors import (
    CoverageError,
    EvaluationError,
    NonFiniteError,
    StalledError,
    UnknownNameError,
)
from milepost.inferencers import ClassificationError, Inferencer, Retrieval, ScalarStats
from milepost.runners import InferenceRunner, evaluate
from milepost.runners._standalone import Standalone

ones = torch.ones(6, 2)


def recording(model: Any, records: list[Record]) -> Standalone:
    """Return a trainer that keeps what is logged."""
    return Standalone(model, Solo(), step=7, monitors=Monitors([records.append]))


class Items(Dataset[Any]):
    """Six samples; `at` decides what happens at one of them."""

    def __init__(self, at: Callable[[int], None] = lambda index: None) -> None:
        self.at = at

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> Any:
        self.at(index)
        return ones[index], 0


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Dropout())


def scores() -> list[Inferencer]:
    return [ScalarStats("score")]


def score(model: nn.Module, batch: Any) -> dict[str, Any]:
    return {"score": model(batch["input"])[:, 0]}


def run_to_its_error(data: Any, inferencers: Any = None, **options: Any) -> Exception:
    """Return the error of a run, after checking that it left no trace and one failure record."""
    examined = model()
    before = {name: value.clone() for name, value in examined.state_dict().items()}
    flags = [part.training for part in examined.modules()]
    random = torch.get_rng_state()
    children, threads = set(psutil.Process().children()), threading.active_count()
    options.setdefault("forward", score)
    runner = InferenceRunner(data, inferencers or scores(), **options)
    records: list[Record] = []
    with pytest.raises(Exception) as raised:  # noqa: PT011 - the caller looks at it
        runner.run(recording(examined, records))
    assert [record.scalars for record in records] == [{}]
    assert str(raised.value) in str(records[0].error)
    assert records[0].step == 7
    assert all(torch.equal(value, before[name]) for name, value in examined.state_dict().items())
    assert [part.training for part in examined.modules()] == flags
    assert torch.equal(torch.get_rng_state(), random)
    assert set(psutil.Process().children()) == children
    if "timeout_s" not in options:
        for feeder in threading.enumerate():  # a queue's own thread ends a moment later
            if feeder.name == "QueueFeederThread":
                feeder.join(5)
        assert threading.active_count() == threads
    return raised.value


@pytest.mark.parametrize("prefetch", [0, 2])
@pytest.mark.parametrize("replicas", [0, 2])
def test_an_error_of_the_source_surfaces_as_it_is(prefetch: int, replicas: int) -> None:
    def at(index: int) -> None:
        if index == 4:
            msg = "sample 4 is damaged"
            raise OSError(msg)

    placement = ["cpu"] * replicas or None
    error = run_to_its_error(Items(at), prefetch=prefetch, batch_size=2, placement=placement)
    assert type(error) is OSError
    assert str(error) == "sample 4 is damaged"


@pytest.mark.parametrize("placement", [None, ["cpu", "cpu"]])
def test_an_error_of_the_model_surfaces_as_it_is(placement: Any) -> None:
    def broken(model: nn.Module, batch: Any) -> dict[str, Any]:
        model.train()
        msg = "no such layer"
        raise KeyError(msg)

    error = run_to_its_error(Items(), batch_size=2, forward=broken, placement=placement)
    assert type(error) is KeyError


@pytest.mark.parametrize(("declared", "given"), [(5, 3), (2, 3)])
def test_a_declared_size_that_is_not_met_names_both_counts(declared: int, given: int) -> None:
    error = run_to_its_error([ones[:1]] * given, size=declared)
    assert isinstance(error, CoverageError)
    assert str(declared) in str(error)
    assert str(given) in str(error)


def test_ids_that_repeat_are_an_error_with_their_counts() -> None:
    batches = [{"input": ones[:3], "id": [1, 2, 2]}]
    error = run_to_its_error(batches, size=3)
    assert str(error) == (
        "the source of role 'query' declares 3 samples, but 3 were seen (duplicated: 1, such as "
        "id 2, missing: 1)"
    )


def test_an_exhausted_one_shot_source_is_an_error() -> None:
    source = iter([ones])
    evaluate(model(), source, scores(), forward=score)
    error = run_to_its_error(source)
    assert isinstance(error, EvaluationError)
    assert "is exhausted: it can be read once only" in str(error)


def test_the_second_run_of_a_one_shot_source_is_an_error() -> None:
    runner = InferenceRunner(iter([ones]), scores(), forward=score)
    assert runner.maybe_run(model(), epoch=1)
    with pytest.raises(EvaluationError, match="is exhausted"):
        runner.maybe_run(model(), epoch=2)


@pytest.mark.parametrize("data", [[], {"input": np.zeros((0, 2))}])
def test_an_empty_source_gives_a_warning_and_no_metric(data: Any) -> None:
    message = "^validation: the source of role 'query' is empty; nothing is logged$"
    with pytest.warns(RuntimeWarning, match=message):
        assert evaluate(model(), data, scores(), forward=score) == {}


def test_an_empty_gallery_gives_a_warning_and_no_metric() -> None:
    with pytest.warns(RuntimeWarning, match="role 'gallery' is empty"):
        assert evaluate(model(), {"query": [(ones, ones)], "gallery": []}, [Retrieval()]) == {}


def test_a_worker_that_dies_is_an_error() -> None:
    def at(index: int) -> None:
        if index == 4:
            os.kill(os.getpid(), signal.SIGKILL)

    error = run_to_its_error(Items(at), num_workers=1, batch_size=2)
    assert re.match(r"DataLoader worker .*(killed by signal|exited unexpectedly|died)", str(error))


def test_a_worker_that_stalls_ends_the_run_and_leaves_no_process() -> None:
    def at(index: int) -> None:
        if index == 4:
            time.sleep(600)

    error = run_to_its_error(Items(at), num_workers=1, batch_size=2, timeout_s=1)
    assert isinstance(error, StalledError)


@pytest.mark.parametrize("prefetch", [0, 2])
def test_a_source_that_stalls_ends_the_run_and_its_thread_is_named(prefetch: int) -> None:
    released = threading.Event()

    def at(index: int) -> None:
        if index == 4:
            released.wait()

    error = run_to_its_error(Items(at), batch_size=2, timeout_s=0.1, prefetch=prefetch)
    assert str(error) == "the source gave nothing for 0.1 s (`timeout_s`)"
    assert error.__notes__ == ["the thread 'milepost-prefetch' hangs and was abandoned"]
    released.set()


def test_embeddings_that_are_not_finite_are_an_error_naming_the_first_ids() -> None:
    embeddings = ones.clone()
    embeddings[3, 1] = torch.nan
    error = run_to_its_error(
        [{"output": embeddings, "label": np.arange(6)}],
        [Retrieval()],
        forward=lambda model, batch: {},
    )
    assert isinstance(error, NonFiniteError)
    assert "3" in str(error)


def test_an_unknown_fetch_is_an_error_naming_the_nearest() -> None:
    error = run_to_its_error([ones], [ScalarStats("scorre")])
    assert isinstance(error, UnknownNameError)
    assert "'scorre'" in str(error)
    assert "did you mean 'score'" in str(error)


def test_an_unknown_field_is_an_error_naming_the_nearest() -> None:
    error = run_to_its_error([ones], [ScalarStats("batch.inputt")])
    assert "unknown field or output 'inputt'; did you mean 'input'?" in str(error)


def test_a_name_in_both_batch_and_model_is_an_error_that_says_how_to_choose() -> None:
    error = run_to_its_error([{"input": ones, "score": np.zeros(6)}])
    assert str(error) == (
        "'score' is both a field of the batch and an output or layer of the model; fetch "
        "'batch.score' or 'model.score'"
    )


def test_a_fetched_array_without_a_row_for_each_sample_is_an_error() -> None:
    error = run_to_its_error([ones], forward=lambda model, batch: {"score": torch.ones(5)})
    assert str(error) == (
        "the fetched array 'score' must have one row for each of the 6 samples of its batch, got "
        "shape (5,)"
    )


class Fixed(Inferencer):
    """Computes what it is told."""

    name = "fixed"
    fetches = ("input",)

    def __init__(self, value: Any, *roles: str) -> None:
        self.value = value
        self.roles = roles or ("query",)

    def reset(self) -> None: ...

    def update(self, rows: Any) -> None:
        if isinstance(self.value, Exception):
            raise self.value

    def state(self) -> Any:
        return {}

    def merge(self, states: Any) -> None: ...

    def compute(self) -> Any:
        return self.value


def test_an_inferencer_that_raises_ends_the_evaluation() -> None:
    error = run_to_its_error([ones], [Fixed(ZeroDivisionError("by zero"))])
    assert type(error) is ZeroDivisionError


@pytest.mark.parametrize("value", [np.zeros(3), "high", None, [1.0]])
def test_a_value_that_is_no_scalar_gives_one_warning_and_the_others_are_logged(value: Any) -> None:
    kind = type(value).__name__
    message = f"inferencer 'fixed' computed a {kind} for 'bad'; only scalars are logged"
    with pytest.warns(RuntimeWarning, match=rf"^{re.escape(message)}$") as caught:
        metrics = evaluate(None, {"input": ones}, [Fixed({"bad": value, "good": 1})])
    assert metrics == {"validation/good": 1.0}
    assert len(caught) == 1


@pytest.mark.parametrize("value", [np.zeros(3), "high"])
def test_a_result_that_is_no_mapping_gives_one_warning(value: Any) -> None:
    with pytest.warns(RuntimeWarning, match="not a mapping of scalars$"):
        metrics = evaluate(None, {"input": ones}, [Fixed(value), ScalarStats("input[0]")][:1])
    assert metrics == {}


def test_nothing_computed_is_nothing_logged() -> None:
    assert evaluate(None, {"input": ones}, [Fixed(None)]) == {}


@pytest.mark.parametrize("value", [True, np.float32(1), torch.tensor(1.0), np.array(1)])
def test_every_kind_of_scalar_is_logged(value: Any) -> None:
    assert evaluate(None, {"input": ones}, [Fixed({"x": value})]) == {"validation/x": 1.0}


def failing() -> Iterator[Any]:
    msg = "gone"
    raise OSError(msg)
    yield


def test_warn_lets_the_training_go_on() -> None:
    data = Items()
    runner = InferenceRunner(data, [Fixed(ValueError("bad"))], on_error="warn")
    for epoch in (1, 2):
        with pytest.warns(
            RuntimeWarning, match=r"^validation failed at step 0, the training goes on"
        ):
            assert runner.maybe_run(model(), epoch=epoch) is None


def test_disable_runs_never_again_also_after_a_resume() -> None:
    runner = InferenceRunner(Items(), [Fixed(ValueError("bad"))], on_error="disable")
    with pytest.warns(RuntimeWarning, match="it will not run again: ValueError: bad"):
        assert runner.maybe_run(model(), epoch=1) is None
    assert runner.maybe_run(model(), epoch=2) is None
    resumed = InferenceRunner(Items(), [Fixed({"x": 1})], on_error="disable")
    resumed.load_state_dict(runner.state_dict())
    assert resumed.maybe_run(model(), epoch=3) is None


TWICE = ScalarStats("score")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"on_error": "ignore"},
            "`on_error` must be one of 'raise', 'warn', 'disable', got 'ignore'",
        ),
        ({"weights": "best"}, "`weights` must be one of 'live', 'ema', 'snapshot', got 'best'"),
        ({"prefetch": -1}, "`prefetch` must be a whole number of at least 0, got -1"),
        ({"batch_size": 0}, "`batch_size` must be a whole number of at least 1, got 0"),
        ({"timeout_s": 0.0}, "`timeout_s` must be a number above 0, got 0.0"),
        ({"inferencers": []}, "`inferencers` must be a list of at least one Inferencer, got []"),
        ({"placement": "cpu"}, '`placement` must be None, "local" or a sequence of devices'),
        ({"batch_size": 2.5}, "`batch_size` must be a whole number of at least 1, got 2.5"),
        ({"batch_size": 4}, "`batch_size` cannot be 4: the source makes the batches itself"),
        ({"timeout_s": "5"}, "`timeout_s` must be a number above 0, got '5'"),
        ({"name": ""}, "`name` must be a string that is not empty, got ''"),
        ({"fields": "ab"}, '`fields` must be names such as ("image", "label"), got \'ab\''),
        ({"inferencers": [TWICE, TWICE]}, "`inferencers` must hold an object once"),
        ({"data": {}}, "`data` must hold at least one role, got an empty mapping"),
    ],
)
def test_a_wrong_argument_is_an_error_at_once(options: dict[str, Any], message: str) -> None:
    arguments = {"data": [ones], "inferencers": scores(), **options}
    with pytest.raises(ValueError, match=rf"^{re.escape(message)}"):
        InferenceRunner(**arguments)


def test_a_clock_that_is_not_given_is_an_error() -> None:
    runner = InferenceRunner([ones], scores(), every="10 steps", forward=score)
    with pytest.raises(ValueError, match="step"):
        runner.maybe_run(model(), epoch=1)


def test_an_interrupt_is_not_swallowed() -> None:
    def interrupted(model: nn.Module, batch: Any) -> dict[str, Any]:
        raise KeyboardInterrupt

    runner = InferenceRunner([ones], scores(), forward=interrupted, on_error="disable")
    examined = model()
    with pytest.raises(KeyboardInterrupt):
        runner.maybe_run(examined, epoch=1)
    assert examined.training


def test_a_wrong_vector_is_checked() -> None:
    with pytest.raises(ValueError, match="wrong"):
        evaluate(None, {"wrong": np.array([0.5, 2.0])}, [ClassificationError(wrong="wrong")])


def test_loaders_keep_their_workers_to_themselves() -> None:
    loader = DataLoader(Items(), batch_size=2, num_workers=2, persistent_workers=True)
    before = set(psutil.Process().children())
    evaluate(model(), loader, scores(), forward=score)
    assert set(psutil.Process().children()) == before


def test_a_role_that_no_inferencer_looks_at_is_an_error_naming_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"^unknown role of the data 'querry'; did you mean"):
        InferenceRunner({"querry": [ones], "gallery": [ones]}, [Retrieval()])


def test_a_field_that_says_the_role_beside_a_mapping_of_roles_is_an_error() -> None:
    error = run_to_its_error({"query": [{"input": ones, "role": ["query"] * 6}]})
    assert str(error) == (
        "a batch may not hold a field `role` where `data` is a mapping of roles to sources; pass "
        "one source whose rows say their role, or rename the field"
    )


def test_a_bare_array_is_no_source() -> None:
    with pytest.raises(TypeError, match=r"^`data` must be a torch Dataset .*, got Tensor$"):
        evaluate(None, ones, scores())


def test_a_field_that_is_one_number_is_not_spread_over_the_rows() -> None:
    error = run_to_its_error([{"input": ones, "weight": 3}], [ScalarStats("weight")])
    assert "'weight' must have one row for each of the 6 samples" in str(error)


@pytest.mark.parametrize("second", [[4, 5], np.array([4.0, 5.0])])
def test_ids_are_all_integers_or_all_strings(second: Any) -> None:
    batches = [{"input": ones[:2], "id": ["1", "2"]}, {"input": ones[:2], "id": second}]
    assert isinstance(run_to_its_error(batches), ValueError)


def test_roles_that_share_ids_have_ids_of_one_kind() -> None:
    data = {"query": [{"input": ones}], "gallery": [{"input": ones, "id": list("abcdef")}]}
    with pytest.raises(ValueError, match=r"^ids must be all integers or all strings, got both in"):
        evaluate(None, data, [Fixed({}, "query", "gallery")], shared_ids=True)


@pytest.mark.parametrize("value", ["abc", None, np.complex128(1), np.datetime64("2020-01-01")])
def test_what_has_no_axes_is_a_scalar_only_if_it_is_a_number(value: Any) -> None:
    with pytest.warns(RuntimeWarning, match="only scalars are logged"):
        assert evaluate(None, {"input": ones}, [Fixed({"x": np.array(value)})]) == {}


def test_a_source_that_gave_rows_and_has_none_now_is_exhausted() -> None:
    class Stored:
        def __init__(self) -> None:
            self.iterator = iter([ones])

        def __iter__(self) -> Iterator[Any]:
            return self.iterator

    runner = InferenceRunner(Stored(), scores(), forward=score)
    assert runner.maybe_run(model(), epoch=1)
    with pytest.raises(EvaluationError, match="is exhausted"):
        runner.maybe_run(model(), epoch=2)


def test_a_failed_evaluation_is_not_shown_to_callbacks() -> None:
    class Strict(Callback):
        def on_metrics(self, record: Record, weights: Any) -> None:
            assert record.scalars

    runner = InferenceRunner([ones], [Fixed(ValueError("bad"))], on_error="warn")
    records: list[Record] = []
    loop = Loop(model(), callbacks=[runner, Strict()], monitors=[records.append])
    with loop, pytest.warns(RuntimeWarning, match="the training goes on"):
        list(loop.epochs(1))
    error = "ValueError: bad; raised by the inferencer 'fixed'"
    assert [record.error for record in records] == [error]


def test_evaluate_takes_no_schedule_and_no_policy() -> None:
    with pytest.raises(TypeError, match=r"^`on_error` is for a runner in a training"):
        evaluate(model(), [ones], scores(), on_error="warn")


def test_an_error_while_a_worker_is_slow_leaves_neither_worker_nor_thread() -> None:
    def at(index: int) -> None:
        if index == 4:
            time.sleep(600)

    def broken(model: nn.Module, batch: Any) -> dict[str, Any]:
        msg = "broken"
        raise OSError(msg)

    error = run_to_its_error(Items(at), num_workers=1, batch_size=2, forward=broken)
    assert str(error) == "broken"


def test_data_without_the_role_that_an_inferencer_needs_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"^`data` must hold the role 'query', got gallery$"):
        InferenceRunner({"gallery": [ones]}, [Retrieval()])


def test_labels_that_are_nan_are_an_error() -> None:
    labels = np.array([0.0, np.nan])
    with pytest.raises(ValueError, match=r"^`label` must not be NaN, got it in row 1 of a batch"):
        evaluate(None, {"output": np.eye(2), "label": labels}, [Retrieval()])


def test_an_inferencer_cannot_change_what_others_are_given() -> None:
    class Writes(ScalarStats):  # type: ignore[misc]  # final, but for a mistake
        def update(self, rows: Any) -> None:
            rows["x"][:] = 0

    with pytest.raises(ValueError, match="read-only"):
        evaluate(None, {"x": np.ones(3)}, [Writes("x")])


def test_a_misspelled_field_is_found_among_the_fields_of_the_batch() -> None:
    data = [{"input": ones, "label": np.zeros(6)}]
    error = run_to_its_error(data, [ScalarStats("lable")], forward=None)
    assert "The batch has the fields 'input', 'label'; did you mean 'label'?" in str(error)


def test_an_unknown_name_is_an_error_that_names_who_fetches_it() -> None:
    inferencers = [ScalarStats("label"), Retrieval(labels="label"), Retrieval(name="other")]
    error = run_to_its_error([{"input": ones, "species": np.zeros(6)}], inferencers, forward=None)
    assert "The batch has the fields 'input', 'species'. It is fetched by " in str(error)
    assert str(error).endswith("It is fetched by scalar_stats, retrieval, other")


def test_an_input_that_is_not_there_is_told_once() -> None:
    options: Any = {"forward": None, "inputs": ["inputt"]}
    error = run_to_its_error([{"input": ones, "label": np.zeros(6)}], **options)
    assert str(error) == (
        "unknown input 'inputt'; did you mean 'input'? There are: 'input', 'label'"
    )


def test_a_list_of_single_samples_is_an_error_before_the_model_sees_one() -> None:
    def fails(model: Any, batch: Any) -> Any:
        raise ZeroDivisionError

    samples = [{"input": np.ones(3, np.float32), "label": 1} for _ in range(4)]
    error = run_to_its_error(samples, [ScalarStats("label")], forward=fails)
    assert str(error) == (
        "the fetched array 'label' must have one row for each of the 3 samples of its batch, "
        "got shape (); a source of single samples is to be a torch Dataset or DataLoader"
    )


@pytest.mark.parametrize("attribute", ["name", "fetches"])
def test_an_inferencer_without_name_or_fetches_is_an_error_at_once(attribute: str) -> None:
    inferencer = Fixed({})
    setattr(inferencer, attribute, None)
    with pytest.raises(ValueError, match=r"^`inferencers` must each have a `name` and a tuple of"):
        InferenceRunner([ones], [inferencer])
