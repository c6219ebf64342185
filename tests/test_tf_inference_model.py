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
