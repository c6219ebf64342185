"""Examines Keras models on the backend that is torch; run as a script."""

import copy
from typing import Any

import keras
import numpy as np
import torch

import milepost as mp
from milepost.predictors import get_predictor

IMAGES = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)


class Net(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.trunk = keras.layers.Dense(3)
        self.norm = keras.layers.BatchNormalization()
        self.drop = keras.layers.Dropout(0.5)

    def call(self, image: Any, training: bool = True) -> Any:
        return self.drop(self.norm(self.trunk(image), training=training), training=training)


def main() -> None:
    assert keras.backend.backend() == "torch"
    net = Net()
    net.compile("adam", "mse")
    net.fit(IMAGES, IMAGES[:, :3], verbose=0)
    state = copy.deepcopy(net.state_dict())
    expected = net(IMAGES, training=False).detach()
    batch = {"image": IMAGES, "label": np.arange(6)}
    predictor = get_predictor(net, outputs=[0, "trunk"])
    assert torch.equal(predictor(batch)["0"], expected)
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    net.fit(IMAGES, IMAGES[:, :3], verbose=0)
    assert not torch.equal(predictor(batch)["0"], expected)
    layers = [keras.layers.Dense(3), keras.layers.BatchNormalization()]
    sequential = keras.Sequential([keras.Input((4,)), *layers])
    snapshot = get_predictor(sequential, weights="snapshot")
    expected = snapshot(IMAGES)["output"]
    assert torch.equal(expected, sequential(IMAGES, training=False))
    layers[0].kernel.assign(0 * layers[0].kernel)
    assert torch.equal(snapshot(IMAGES)["output"], expected)
    two = [keras.Input((4,), name="a"), keras.Input((4,), name="b")]
    functional = keras.Model(two, two[0] - 2 * two[1])
    batch = {"b": IMAGES, "a": IMAGES, "label": np.arange(6)}
    assert torch.equal(get_predictor(functional)(batch)["output"], -torch.tensor(IMAGES))
    model = mp.InferenceModel(net.trunk, net.norm)
    model.train_indexer(IMAGES)
    assert model.get_nearest_neighbors(IMAGES, k=1).indices[:, 0].tolist() == list(range(6))
    print("all is well")


if __name__ == "__main__":
    main()
