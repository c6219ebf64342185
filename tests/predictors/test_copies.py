"""Snapshots, averaged weights, replicas, and copies on other devices."""

import threading
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from milepost.predictors import Predictor, get_predictor
from milepost.predictors._torch_copy import copy_module

X = torch.ones(1, 2)
META = torch.device("meta")


def _zero(model: nn.Module) -> None:
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()


def test_live_weights_are_those_of_the_moment_of_the_call() -> None:
    model = nn.Linear(2, 2)
    predictor = get_predictor(model)
    assert predictor(X)["output"].abs().sum() > 0
    _zero(model)
    assert predictor(X)["output"].abs().sum() == 0


def test_a_snapshot_keeps_the_weights_of_its_birth() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    predictor = get_predictor(model, weights="snapshot")
    before = predictor(X)["output"]
    _zero(model)
    model(torch.rand(4, 2))
    assert torch.equal(predictor(X)["output"], before)


def test_averaged_weights_follow_their_average() -> None:
    model = nn.Linear(2, 2)
    averaged = AveragedModel(model)
    predictor = get_predictor(model, weights="ema", ema=averaged)
    _zero(model)
    assert predictor(X)["output"].abs().sum() > 0
    _zero(averaged)
    assert predictor(X)["output"].abs().sum() == 0


def test_averaged_weights_must_be_given() -> None:
    with pytest.raises(ValueError, match="averaged") as raised:
        get_predictor(nn.Linear(2, 2), weights="ema")
    assert str(raised.value) == (
        "`weights` is 'ema', but no averaged model was given; pass it as `ema=`"
    )


def test_a_replica_keeps_the_weights_of_its_birth_and_the_options() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    predictor = get_predictor(model, outputs="0")
    replica = predictor.replicate()
    _zero(model)
    assert replica.outputs == ("0",)
    assert replica(X)["0"].abs().sum() > 0
    assert predictor(X)["0"].abs().sum() == 0


def test_replicas_in_parallel_threads_do_not_disturb_each_other(
    net: nn.Module, image: Tensor
) -> None:
    predictor = get_predictor(net, outputs=["embedding", "twice", "trunk.0"])
    expected = predictor(image)
    replicas = [predictor.replicate() for _ in range(4)]
    results: list[dict[str, Tensor]] = []

    def predict(replica: Predictor) -> None:
        results.extend(replica.forward(image) for _ in range(9))

    threads = [threading.Thread(target=predict, args=(replica,)) for replica in replicas]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 36
    for outputs in results:
        assert all(torch.equal(outputs[name], expected[name]) for name in expected)


def test_a_copy_on_another_device_is_made_where_it_was_asked(net: nn.Module) -> None:
    predictor = get_predictor(net, device="meta")
    outputs = predictor(torch.ones(2, 4))
    assert predictor.device == META
    assert outputs["logits"].device == META
    assert {value.device for value in predictor.weights().values()} == {META}
    assert {value.device.type for value in net.state_dict().values()} == {"cpu"}
    assert net.training


def test_a_copy_is_brought_up_to_date_in_the_memory_it_has() -> None:
    model: Any = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    first = copy_module(model)
    places = [value.data_ptr() for value in first.state_dict().values()]
    _zero(model)
    model.scale = 3
    second: Any = copy_module(model, into=first)
    assert [value.data_ptr() for value in second.state_dict().values()] == places
    assert all(torch.equal(x, y) for x, y in _pairs(second, model))
    assert second.scale == 3


def test_a_copy_follows_weights_that_changed_their_shape() -> None:
    model: Any = nn.Sequential(nn.Linear(2, 2))
    first = copy_module(model)
    model[0] = nn.Linear(2, 5)
    second = copy_module(model, into=first)
    assert all(torch.equal(x, y) for x, y in _pairs(second, model))


def _pairs(one: nn.Module, other: nn.Module) -> Any:
    return zip(one.state_dict().values(), other.state_dict().values(), strict=True)


def test_copies_made_in_inference_mode_can_be_brought_up_to_date_outside() -> None:
    model = nn.Linear(2, 2)
    with torch.inference_mode():
        copied = copy_module(model)
    copy_module(model, into=copied)
    assert not any(value.is_inference() for value in copied.state_dict().values())


def test_tied_weights_stay_tied() -> None:
    model: Any = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    copied: Any = copy_module(model)
    again: Any = copy_module(model, into=copied)
    assert copied[1].weight is copied[0].weight
    assert again[1].weight is again[0].weight
    assert copied[0].weight is not model[0].weight


def test_a_copy_shares_no_memory_with_the_model(net: nn.Module) -> None:
    places = {value.data_ptr() for value in net.state_dict().values()}
    copied = copy_module(net)
    assert not places & {value.data_ptr() for value in copied.state_dict().values()}


def test_tensors_that_a_forward_pass_cached_are_copied_without_history() -> None:
    model: Any = nn.Linear(2, 2)
    model.last = model(X)
    model.all = {"steps": [model(X)], "state": (model.last, "name")}
    copied: Any = copy_module(model)
    assert torch.equal(copied.last, model.last)
    assert not copied.last.requires_grad
    assert copied.all["state"][0] is copied.last
    assert model.last.requires_grad


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm:FutureWarning")
def test_a_weight_computed_by_a_hook_is_computed_in_the_copy_too() -> None:
    model = torch.nn.utils.weight_norm(nn.Linear(2, 2))
    model(X)
    predictor = get_predictor(model, weights="snapshot")
    before = model(X).detach()
    _zero(model)
    assert torch.equal(predictor(X)["output"], before)


def test_recurrent_layers_can_be_copied() -> None:
    model = nn.LSTM(2, 3)
    predictor = get_predictor(model, outputs=[0], weights="snapshot")
    assert torch.equal(predictor(X)["0"], model(X)[0].detach())


def test_a_forward_pass_replaced_by_a_function_cannot_be_copied() -> None:
    model: Any = nn.Linear(2, 2)
    plain = model.forward
    model.forward = lambda x: plain(x) * 2
    with pytest.raises(ValueError, match="replaced") as raised:
        get_predictor(model, weights="snapshot")
    assert str(raised.value) == (
        "`forward` of Linear was replaced by a function, which would run the model itself and not "
        "its copy; replace it by a method of a subclass"
    )
    assert torch.equal(get_predictor(model)(X)["output"], plain(X).detach() * 2)


def test_what_cannot_be_copied_says_that_live_weights_can_be_had() -> None:
    model = nn.Linear(2, 2)
    model.lock = threading.Lock()  # type: ignore[assignment]
    with pytest.raises(TypeError, match="lock") as raised:
        get_predictor(model, weights="snapshot")
    assert raised.value.__notes__ == [
        "Milepost was copying the model; live weights on its device need none"
    ]


def test_channels_last_lays_out_images_and_copied_weights_but_not_live_weights() -> None:
    model = nn.Conv2d(3, 4, 3)
    seen: list[bool] = []

    def forward(model: Any, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        tensors = (batch["image"], model.weight)
        seen.extend(x.is_contiguous(memory_format=torch.channels_last) for x in tensors)
        return {"output": model(batch["image"])}

    batch = {"image": torch.rand(2, 3, 8, 8), "label": torch.zeros(2)}
    live = get_predictor(model, forward=forward, channels_last=True)(batch)
    copied = get_predictor(model, forward=forward, channels_last=True, weights="snapshot")(batch)
    assert seen == [True, False, True, True]
    torch.testing.assert_close(live, copied)
