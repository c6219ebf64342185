"""What decides the outputs of a PyTorch module goes into its identity: nothing else hits."""

import copy
import functools
import itertools
import os
import random
import time
import warnings
from collections.abc import Callable
from types import MethodType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from milepost.predictors import Predictor, UnidentifiedError, get_predictor

GAIN = 1.0
WEIGHTS = {"gain": torch.ones(4)}


def scaled(x: Tensor) -> Tensor:
    return x * GAIN * WEIGHTS["gain"]


class Vocabulary:
    """A tokenizer of the user's own."""

    __slots__ = ("words",)

    def __init__(self, *words: str) -> None:
        self.words = {word: number for number, word in enumerate(words)}


class Net(nn.Module):
    margin = 0.5

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.GELU())
        self.norm = nn.BatchNorm1d(2)
        self.head = nn.Linear(4, 2)
        self.temperature = 0.1
        self.tokenizer = Vocabulary("a", "b")
        self.cached: list[Tensor] = [torch.zeros(2)]

    def forward(self, image: Tensor) -> Tensor:
        return self.scale(self.norm(self.head(scaled(self.trunk(image)))))

    def scale(self, x: Tensor) -> Tensor:
        return torch.nn.functional.normalize(x) / self.temperature


class Doubled(Net):
    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image) * 2


def net() -> Net:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Net()


IMAGES = np.arange(12, dtype=np.float32).reshape(3, 4)


def key(model: nn.Module, batch: Any = None, outputs: Any = None, **options: Any) -> bytes:
    predictor: Predictor = get_predictor(model, outputs=outputs, **options)
    with predictor.scope():
        return predictor.identity().key(predictor, {"image": IMAGES} if batch is None else batch)


def next_weight(model: Net) -> None:
    weight = model.head.weight.data
    weight[0, 0] = torch.nextafter(weight[0, 0], torch.tensor(9.0))


def with_hook(model: Net) -> None:
    model.head.register_forward_hook(lambda _module, _args, output: output * 2)


def with_other_method(model: Net) -> None:
    model.scale = MethodType(lambda _self, x: x, model)  # type: ignore[method-assign]


def with_other_class(model: Net) -> None:
    model.__class__ = Doubled


CHANGES: dict[str, Callable[[Net], Any]] = {
    "one weight, by one unit in the last place": next_weight,
    "a zero that is negative": lambda x: x.cached[0].neg_(),
    "statistics of batch normalisation": lambda x: vars(x.norm)["_buffers"]["running_var"].add_(
        1e-7
    ),
    "a buffer that is not saved": lambda x: x.register_buffer("b", torch.ones(1), persistent=False),
    "an attribute": lambda x: setattr(x, "temperature", 0.1 + 1e-16),
    "the type of an attribute": lambda x: setattr(x, "temperature", np.float64(0.1)),
    "an option of a layer": lambda x: setattr(x.trunk[2], "approximate", "tanh"),
    "a tensor in a list": lambda x: x.cached.append(torch.zeros(2)),
    "a layer of another type": lambda x: x.trunk.__setitem__(2, nn.SiLU()),
    "the words of a tokenizer": lambda x: setattr(x, "tokenizer", Vocabulary("b", "a")),
    "the precision of weights": lambda x: x.double(),
    "the layout of a weight": lambda x: setattr(
        x.head.weight, "data", x.head.weight.data.T.contiguous().T
    ),
    "a hook": with_hook,
    "a patched method": with_other_method,
    "a subclass with another forward pass": with_other_class,
    "another forward pass of an instance": lambda x: setattr(
        x.head, "forward", functools.partial(nn.functional.linear, weight=x.head.weight)
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_model_that_differs_in_anything_is_another(change: str) -> None:
    model = net()
    before = key(model)
    assert key(net()) == before
    CHANGES[change](model)
    assert key(model) != before


def test_the_order_of_layers_counts() -> None:
    one, other = nn.Sequential(nn.ReLU(), nn.Tanh()), nn.Sequential(nn.Tanh(), nn.ReLU())
    assert key(one) != key(other)


def test_a_global_that_the_code_reads_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    before = key(net())
    monkeypatch.setitem(globals(), "GAIN", 2.0)
    second = key(net())
    monkeypatch.setitem(WEIGHTS, "gain", torch.zeros(4))
    third = key(net())
    monkeypatch.setitem(globals(), "scaled", lambda x: x)
    assert len({before, second, third, key(net())}) == 4


def test_code_that_was_replaced_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [key(net())]
    for owner, name in (
        (Net, "scale"),
        (nn.Linear, "forward"),
        (nn.Module, "__call__"),
        (torch.nn.functional, "normalize"),
        (torch.nn.functional, "gelu"),
        (torch.Tensor, "relu"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, lambda *_args, **_options: torch.zeros(3, 2))
            keys.append(key(net()))
    monkeypatch.setattr(Net, "margin", 0.25)
    keys.append(key(net()))
    assert len(set(keys)) == len(keys)


def test_a_global_hook_counts() -> None:
    before = key(net())
    handle = nn.modules.module.register_module_forward_hook(lambda _module, _args, output: output)
    try:
        assert key(net()) != before
    finally:
        handle.remove()
    assert key(net()) == before


BATCHES: dict[str, Any] = {
    "one pixel": IMAGES + np.eye(3, 4, dtype=np.float32) * 1e-6,
    "the order of rows": IMAGES[::-1].copy(),
    "the order in memory": np.asfortranarray(IMAGES),
    "fewer rows": IMAGES[:2],
    "another type": IMAGES.astype(np.float64),
    "another shape": IMAGES.reshape(3, 2, 2),
    "a tensor": torch.from_numpy(IMAGES.copy()),
    "a list": IMAGES.tolist(),
}


@pytest.mark.parametrize("batch", BATCHES)
def test_a_batch_that_differs_in_anything_is_another(batch: str) -> None:
    model = net()
    assert key(model, {"image": IMAGES.copy()}) == key(model)
    assert key(model, {"image": BATCHES[batch]}) != key(model)


def test_only_what_goes_to_the_model_counts_of_a_batch() -> None:
    model = net()
    one, other = ({"image": IMAGES, "label": np.full(3, x)} for x in (0, 1))
    assert key(model, one) == key(model, other)
    assert key(model, one, forward=own_forward) != key(model, other, forward=own_forward)


def own_forward(model: Any, batch: Any) -> dict[str, Any]:
    return {"output": model(batch["image"])}


def other_forward(model: Any, batch: Any) -> dict[str, Any]:
    return {"output": model(batch["image"]) + 1}


def test_how_the_model_is_run_counts() -> None:
    model, closed = net(), [own_forward, other_forward]

    def forward_of(number: int) -> Any:
        return lambda model, batch: closed[number](model, batch)

    ways: list[dict[str, Any]] = [
        {},
        {"outputs": ["output"]},
        {"outputs": ["trunk"]},
        {"outputs": ["output", "trunk"]},
        {"autocast": "bfloat16"},
        {"channels_last": True},
        *({"forward": x} for x in (own_forward, other_forward, forward_of(0), forward_of(1))),
        {"forward": functools.partial(own_forward)},
    ]
    assert len({key(model, **way) for way in ways}) == len(ways)


def test_settings_of_torch_count() -> None:
    before, threads = key(net()), torch.get_num_threads()
    torch.set_default_dtype(torch.float64)
    try:
        second = key(copy.deepcopy(net()).float())
    finally:
        torch.set_default_dtype(torch.float32)
    torch.set_num_threads(threads + 1)
    try:
        assert len({before, second, key(net())}) == 3
    finally:
        torch.set_num_threads(threads)


def reads_time(model: Any, batch: Any) -> dict[str, Any]:
    return {"output": model(batch["image"]) * time.time()}


def reads_settings(model: Any, batch: Any) -> dict[str, Any]:
    return {"output": model(batch["image"]) * float(os.environ["GAIN"])}


def reads_a_file(model: Any, batch: Any) -> dict[str, Any]:
    with open("gain.txt") as file:
        return {"output": model(batch["image"]) * float(file.read())}


def reads_weights(model: Any, batch: Any) -> dict[str, Any]:
    return {"output": model(batch["image"]) * torch.load("gain.pt")}


def draws(model: Any, batch: Any) -> dict[str, Any]:
    return {"output": model(batch["image"]) * np.random.default_rng().normal()}


def draws_in_python(model: Any, batch: Any) -> dict[str, Any]:
    return {"output": model(batch["image"]) * random.random()}


def evaluates(model: Any, batch: Any) -> dict[str, Any]:
    return eval("{'output': model(batch['image'])}")  # type: ignore[no-any-return]


GENERATOR = torch.Generator()


def own_generator(model: Any, batch: Any) -> dict[str, Any]:
    return {"output": model(batch["image"]) * torch.rand(1, generator=GENERATOR)}


@pytest.mark.parametrize(
    ("forward", "reason"),
    [
        (reads_time, r"it may run what is in `time`"),
        (reads_settings, r"it may run what is in `os`"),
        (reads_a_file, r"reads_a_file calls `open`"),
        (reads_weights, r"it may run torch\.load"),
        (draws, r"it may run numpy\.random\.default_rng"),
        (draws_in_python, r"it may run what is in `random`"),
        (evaluates, r"evaluates calls `eval`"),
        (own_generator, r"it holds a torch._C.Generator, whose state cannot be seen"),
    ],
)
def test_what_may_not_repeat_is_refused(forward: Any, reason: str) -> None:
    with pytest.raises(UnidentifiedError, match=reason):
        key(net(), forward=forward)


def test_a_model_whose_code_cannot_be_seen_is_refused() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch's, of the whole of TorchScript
        traced = torch.jit.trace(nn.Linear(4, 2), torch.ones(1, 4))  # type: ignore[no-untyped-call]
    with pytest.raises(UnidentifiedError, match=r"^the code of a TopLevelTracedModule cannot"):
        key(traced)


def test_a_part_that_cannot_be_told_is_named() -> None:
    model = net()
    vars(model.trunk[2])["generator"] = GENERATOR
    with pytest.raises(UnidentifiedError, match=r"^trunk\.2 \(GELU\) cannot be told from others: "):
        key(model)


def test_a_change_during_an_evaluation_is_named() -> None:
    model = net()
    predictor = get_predictor(model)
    with predictor.scope():
        identity = predictor.identity()
        assert identity.changes() == []
        vars(model.norm)["_buffers"]["running_mean"].add_(1)
        model.temperature = 0.2
        assert identity.changes() == ["the model", "norm"]


def test_drawing_from_a_global_generator_is_seen() -> None:
    predictor = get_predictor(net())
    with predictor.scope():
        identity = predictor.identity()
        states = [identity.draws()]
        assert identity.draws() == states[0]
        for draw in (lambda: torch.rand(1), np.random.rand, random.random):
            draw()
            states.append(identity.draws())
    assert all(one != other for one, other in itertools.pairwise(states))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "int64", "bool", "complex64"])
@pytest.mark.parametrize("shape", [(0, 3), (3,), (2, 3), (2, 3, 4)])
def test_an_output_comes_back_as_it_was(dtype: str, shape: tuple[int, ...]) -> None:
    predictor = get_predictor(net())
    with predictor.scope():
        identity = predictor.identity()
    value = torch.randn(shape).to(getattr(torch, dtype))
    for given in (value, value.T if value.dim() == 2 else value.clone(), value[..., :1]):
        packed = identity.pack(given)
        assert packed is not None
        back = identity.unpack(packed)
        assert back.dtype == given.dtype
        assert torch.equal(back, given)
    assert identity.pack(1.0) is None
    assert identity.pack(value.to_sparse()) is None
