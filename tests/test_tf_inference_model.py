"""`InferenceModel`, and whole evaluations, with models of Keras and TensorFlow."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import milepost as mp

IMAGES = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
LABELS = np.repeat(["a", "b", "c"], 3)


def _trunk() -> Any:
    keras.utils.set_random_seed(0)
    image = keras.Input((4,), name="image")
    return keras.Model(image, layers.BatchNormalization()(layers.Dense(4)(image)))


def _embedder() -> Any:
    return keras.Sequential([keras.Input((4,)), layers.Dense(3), layers.Dropout(0.5)])


class Scale(tf.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = tf.Variable([1.0, -2.0, 3.0, 4.0])

    def __call__(self, x: Any, training: bool = True) -> Any:
        return x * self.scale + (1 if training else 0)


@pytest.mark.parametrize("embedder", [_embedder, Scale, lambda: tf.function(lambda x: x[:, :3])])
def test_embeddings_are_those_of_both_models_in_a_row(embedder: Any) -> None:
    trunk, second = _trunk(), embedder()
    hidden = trunk(IMAGES, training=False)
    expected = second(hidden) if embedder is not Scale else second(hidden, training=False)
    model = mp.InferenceModel(trunk, second, normalize_embeddings=False)
    embeddings = model.get_embeddings({"label": LABELS, "image": IMAGES})
    assert embeddings.dtype == np.float32
    assert embeddings == pytest.approx(np.asarray(expected), abs=1e-6)


@pytest.mark.parametrize(
    "data",
    [IMAGES, tf.constant(IMAGES), list(IMAGES), list(tf.constant(IMAGES)), {"image": IMAGES}],
)
def test_neighbours_and_labels_are_found(data: Any) -> None:
    model = mp.InferenceModel(_trunk(), _embedder())
    model.train_indexer(data, labels=LABELS)
    indices, _ = model.get_nearest_neighbors(data, k=2)
    assert indices[:, 0].tolist() == list(range(9))
    assert model.predict_label(data).tolist() == LABELS.tolist()
    assert model.is_match(data, data).tolist() == [True] * 9


def test_an_index_is_taken_by_equal_weights_whatever_keras_calls_the_layers(
    tmp_path: Path,
) -> None:
    trunk = _trunk()
    model = mp.InferenceModel(trunk)
    model.train_indexer(IMAGES)
    model.save_index(tmp_path / "gallery.index")
    again = _trunk()
    assert again.layers[1].name != trunk.layers[1].name
    mp.InferenceModel(again).load_index(tmp_path / "gallery.index")
    again.layers[1].bias.assign([1.0, 1.0, 1.0, 1.0])
    with pytest.raises(mp.errors.IndexFileError):
        mp.InferenceModel(again).load_index(tmp_path / "gallery.index")


def test_models_of_two_frameworks_cannot_be_put_in_a_row() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match="one framework") as raised:
        mp.InferenceModel(torch.nn.Identity(), Scale())
    assert str(raised.value) == (
        "models in a row must be of one framework, got Identity of torch and Scale of tensorflow"
    )


def test_equal_weights_in_torch_and_keras_give_equal_metrics() -> None:
    torch = pytest.importorskip("torch")
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


def test_the_best_weights_load_back_into_a_model_that_was_built_anew(tmp_path: Path) -> None:
    model = _trunk()
    runner = mp.InferenceRunner(
        {"image": IMAGES, "label": LABELS},
        [mp.Retrieval(embeddings="output", labels="label", k=(1,))],
        every="1 step",
    )
    best = mp.KeepBest("validation/hit_rate@1", path=tmp_path / "best.safetensors")
    with mp.Loop(model, callbacks=[runner, best], monitors=[]) as loop:
        for _ in loop.steps(range(2)):
            pass
    expected = model(IMAGES, training=False)
    model.set_weights([0 * value for value in model.get_weights()])
    predictor = mp.OfflinePredictor(model, tmp_path / "best.safetensors", strict=True)
    assert np.asarray(predictor(IMAGES)["output"]) == pytest.approx(np.asarray(expected), abs=1e-6)
