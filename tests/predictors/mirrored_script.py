"""Examines models under a MirroredStrategy of two logical CPU devices; run as a script."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

import milepost as mp
from milepost.predictors import get_predictor

(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
STRATEGY = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
IMAGES = np.random.default_rng(0).normal(size=(11, 4)).astype(np.float32)


def main() -> None:
    with STRATEGY.scope():
        net = keras.Sequential(
            [keras.Input((4,)), keras.layers.Dense(3), keras.layers.BatchNormalization()]
        )
        net.compile("adam", "mse")
    net.fit(IMAGES, IMAGES[:, :3], 4, verbose=0)
    check_replicas(net)
    for size in (11, 4, 1):
        check_evaluation(net, size)
    check_training_goes_on(net)
    check_module()
    check_device()
    print("all is well")


def check_replicas(net: keras.Model) -> None:
    predictor = get_predictor(net)
    first, second = predictor.replicas()
    assert str(first.device).endswith("CPU:0"), first.device
    assert str(second.device).endswith("CPU:1"), second.device
    expected = net(IMAGES, training=False)
    for replica in (predictor, first, second):
        output = replica(IMAGES)["output"]
        assert np.allclose(output, expected, atol=1e-6)
        assert str(output.device).endswith(str(replica.device)[-5:]), output.device
        assert replica(IMAGES[:0])["output"].shape == (0, 3)
    assert len(get_predictor(net, weights="snapshot").replicas()) == 1
    net.layers[0].kernel.assign(2 * net.layers[0].kernel)  # replicas are live
    assert np.array_equal(second(IMAGES)["output"], predictor(IMAGES)["output"])


class Places(mp.Inferencer):
    """Notes on which devices the outputs were made."""

    name = "places"
    fetches = ("score",)
    arrays = "native"

    def __init__(self) -> None:
        self.seen: set[str] = set()

    def reset(self) -> None:
        self.seen.clear()

    def update(self, rows: Any) -> None:
        self.seen.add(str(rows["score"].device)[-5:])

    def state(self) -> dict[str, Any]:
        return {}

    def merge(self, states: Any) -> None:
        """There is one worker."""

    def compute(self) -> None:
        return None


def score(model: Any, batch: Any) -> Any:
    return {"score": model(batch["input"], training=False)[:, 0]}


def check_evaluation(net: keras.Model, size: int) -> None:
    data = {"input": IMAGES[:size]}
    places = Places()

    def evaluate() -> Any:
        stats = mp.ScalarStats("score")
        metrics = mp.evaluate(net, data, [stats, places], batch_size=2, forward=score)
        assert places.seen == ({"CPU:0", "CPU:1"} if size > 2 else {"CPU:0"}), places.seen
        return metrics

    with STRATEGY.scope():
        inside = evaluate()
    assert inside == evaluate()
    expected = float(np.mean(get_predictor(net)(IMAGES[:size])["output"][:, 0], dtype=np.float64))
    (value,) = inside.values()
    assert abs(value - expected) < 1e-6, (value, expected)


def check_training_goes_on(net: keras.Model) -> None:
    before = [x.numpy() for variable in net.weights for x in variable.value.values]
    get_predictor(net)(IMAGES)
    after = [x.numpy() for variable in net.weights for x in variable.value.values]
    assert all(map(np.array_equal, before, after))
    net.fit(IMAGES, IMAGES[:, :3], 4, verbose=0)


def check_module() -> None:
    class Scale(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = tf.Variable([3.0])

        @tf.function
        def __call__(self, x: tf.Tensor) -> tf.Tensor:
            return x * self.scale

    with STRATEGY.scope():
        module = Scale()
    for replica in get_predictor(module).replicas():
        assert np.array_equal(replica(IMAGES)["output"], 3 * IMAGES)


def check_device() -> None:
    net = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    predictor = get_predictor(net, device="CPU:1")
    assert str(predictor(IMAGES)["output"].device).endswith("CPU:1")
    net.set_weights([0 * value for value in net.get_weights()])
    assert not np.any(predictor(IMAGES)["output"])
    assert {str(value.device)[-5:] for value in predictor.weights().values()} == {"CPU:1"}
    assert predictor.replicate("/cpu:0").device == get_predictor(net).device


if __name__ == "__main__":
    main()
