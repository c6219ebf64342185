"""What holds between PyTorch and TensorFlow where both are installed."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import torch
from keras import layers

import milepost as mp
from milepost.predictors import get_predictor


def test_models_of_two_frameworks_cannot_be_put_in_a_row() -> None:
    with pytest.raises(TypeError, match="one framework") as raised:
        mp.InferenceModel(torch.nn.Identity(), tf.Module())
    assert str(raised.value) == (
        "models in a row must be of one framework, got Identity of torch and Module of tensorflow"
    )


def test_equal_weights_in_torch_and_keras_give_equal_metrics() -> None:
    rng = np.random.default_rng(1)
    kernels = [rng.integers(-2, 3, size).astype(np.float32) for size in ((4, 6), (6, 3))]
    images = rng.integers(-3, 4, (40, 4)).astype(np.float32)  # exact in float32
    data = {"image": images, "label": rng.integers(0, 3, 40)}
    image = keras.Input((4,), name="image")
    hidden = layers.Dense(6, "relu", use_bias=False, name="hidden")(image)
    logits = layers.Dense(3, use_bias=False, name="logits")(hidden)
    in_keras = keras.Model(image, logits)
    in_keras.set_weights(kernels)
    in_torch = torch.nn.Sequential(
        torch.nn.Linear(4, 6, bias=False), torch.nn.ReLU(), torch.nn.Linear(6, 3, bias=False)
    )
    in_torch.load_state_dict(
        {"0.weight": torch.tensor(kernels[0].T)} | {"2.weight": torch.tensor(kernels[1].T)}
    )
    inferencers = [
        mp.ClassificationError("output", "label"),
        mp.Retrieval(embeddings="output", labels="label", k=(1, 5)),
        mp.MatchRate(embeddings="output", labels="label"),
    ]
    results = [
        mp.evaluate(model, data, inferencers, batch_size=batch_size, inputs=["image"])
        for model in (in_torch, in_keras)
        for batch_size in (7, 40)
    ]
    assert len(results[0] or {}) > 5
    assert results[1:] == results[:1] * 3


def test_tensors_of_torch_are_taken() -> None:
    outputs = get_predictor(tf.function(lambda x: x * 2))(torch.tensor([1.5], dtype=torch.bfloat16))
    assert outputs["output"].numpy().tolist() == [3]
