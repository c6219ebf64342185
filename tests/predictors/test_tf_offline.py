"""Predictors on checkpoints of Keras and TensorFlow."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import milepost
from milepost.callbacks._weights_file import save_weights
from milepost.predictors import OfflinePredictor, get_predictor

X = np.ones((3, 2), np.float32)

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def _fresh(units: int = 3, last: str = "head") -> Any:
    image = keras.Input((2,))
    hidden = layers.BatchNormalization()(layers.Dense(units)(image))
    hidden = layers.Dense(4)(layers.Dropout(0.5)(hidden))
    return keras.Model(image, layers.Dense(1, name=last)(hidden))


@pytest.fixture(scope="module")
def trained() -> Any:
    model = _fresh()
    model.compile("adam", "mse", metrics=["mae"])
    model.fit(X, X[:, :1], epochs=2, verbose=0)
    return model


def _safetensors(model: Any, folder: Path) -> Path:
    path = folder / "best.safetensors"
    save_weights(path, get_predictor(model).weights(), {"step": "3"})
    return path


def _keras(model: Any, folder: Path) -> Path:
    model.save(folder / "model.keras")
    return folder / "model.keras"


def _h5(model: Any, folder: Path) -> Path:
    model.save_weights(folder / "model.weights.h5")
    return folder / "model.weights.h5"


def _checkpoint(model: Any, folder: Path) -> Path:
    return Path(tf.train.Checkpoint(net=model, step=tf.Variable(3)).save(str(folder / "ckpt")))


def _checkpoint_of_the_model(model: Any, folder: Path) -> Path:
    return Path(tf.train.Checkpoint(model).write(str(folder / "ckpt")))


def _with_optimizer(model: Any, folder: Path) -> Path:
    checkpoint = tf.train.Checkpoint(optimizer=model.optimizer, model=model)
    return Path(checkpoint.save(str(folder / "ckpt")))


def _saved_model(model: Any, folder: Path) -> Path:
    tf.saved_model.save(model, str(folder / "saved"))
    return folder / "saved"


def _names(model: Any, _: Path) -> dict[str, Any]:
    return dict(get_predictor(model).weights())


def _paths(model: Any, _: Path) -> dict[str, Any]:
    return {variable.path: variable.numpy() for variable in model.weights}


SAVES = [_safetensors, _keras, _h5, _checkpoint, _checkpoint_of_the_model, _with_optimizer]


@pytest.mark.parametrize("save", [*SAVES, _saved_model, _names])
def test_a_checkpoint_gives_the_numbers_of_the_training(
    save: Callable[[Any, Path], Any], trained: Any, tmp_path: Path
) -> None:
    expected = get_predictor(trained, outputs=[0, "head"])(X)
    fresh = _fresh()
    before = [value.numpy() for value in fresh.variables]
    predictor = OfflinePredictor(fresh, save(trained, tmp_path), [0, "head"], strict=True)
    for name, value in expected.items():
        assert np.array_equal(predictor(X)[name], value)
    assert all(map(np.array_equal, before, fresh.variables))


def test_a_mapping_may_have_the_paths_of_keras(trained: Any) -> None:
    expected = get_predictor(trained)(X)["output"]
    again = keras.models.clone_model(trained)
    predictor = OfflinePredictor(again, _paths(trained, Path()), strict=True)
    assert np.array_equal(predictor(X)["output"], expected)


@pytest.mark.parametrize("save", [_keras, _saved_model])
def test_a_file_that_holds_the_model_needs_no_model(
    save: Callable[[Any, Path], Path], trained: Any, tmp_path: Path
) -> None:
    expected = get_predictor(trained)(X)["output"].numpy()
    predictor = milepost.OfflinePredictor(checkpoint=save(trained, tmp_path))
    (output,) = predictor(X).values()
    assert output.numpy() == pytest.approx(expected, abs=1e-6)
    held = {value.numpy().tobytes() for value in predictor.weights().values()}
    assert {value.tobytes() for value in trained.get_weights()} <= held


@pytest.mark.parametrize("checkpoint", ["model.weights.h5", None, {}])
def test_other_checkpoints_need_a_model(checkpoint: Any) -> None:
    with pytest.raises(ValueError, match="None") as raised:
        OfflinePredictor(None, checkpoint)
    assert str(raised.value) == (
        "`model` may be None only where `checkpoint` holds the model, a `.keras` file or the "
        f"folder of a SavedModel, got {checkpoint!r}"
    )


def test_no_checkpoint_means_the_weights_of_now() -> None:
    model = _fresh()
    predictor = OfflinePredictor(model)
    before = predictor(X)["output"].numpy()
    model.set_weights([0 * value for value in model.get_weights()])
    assert np.array_equal(predictor(X)["output"], before)


@pytest.mark.parametrize(
    ("save", "mine", "theirs"),
    [
        (_names, ["head.kernel", "head.bias"], ["other.kernel", "other.bias"]),
        (_safetensors, ["head.kernel", "head.bias"], ["other.bias", "other.kernel"]),
    ],
)
def test_names_on_one_side_only_are_reported(
    save: Any, mine: list[str], theirs: list[str], tmp_path: Path
) -> None:
    checkpoint = save(_fresh(last="other"), tmp_path)
    message = (
        "`checkpoint` has other names than the model; "
        f"only in the model: {', '.join(map(repr, mine))}; "
        f"only in the checkpoint: {', '.join(map(repr, theirs))}"
    )
    with pytest.warns(UserWarning, match="other names") as warned:
        OfflinePredictor(_fresh(), checkpoint)
    assert str(warned[0].message) == message
    assert warned[0].filename == __file__
    with pytest.raises(ValueError, match="other names") as raised:
        OfflinePredictor(_fresh(), checkpoint, strict=True)
    assert str(raised.value) == message


@pytest.mark.parametrize("save", [_keras, _h5, _checkpoint, _with_optimizer])
def test_layers_on_one_side_only_are_reported(save: Any, trained: Any, tmp_path: Path) -> None:
    checkpoint = save(trained, tmp_path)
    image = keras.Input((2,))
    short = keras.Model(image, layers.BatchNormalization()(layers.Dense(3)(image)))
    with pytest.warns(UserWarning, match="only in the model: none; only in the checkpoint: '"):
        predictor = OfflinePredictor(short, checkpoint)
    expected = get_predictor(trained, outputs=trained.layers[2].name)(X)
    assert np.array_equal(predictor(X)["output"], *expected.values())


@pytest.mark.parametrize("save", [*SAVES, _names])
def test_shapes_that_differ_are_all_listed(save: Any, trained: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="shapes") as raised:
        OfflinePredictor(_fresh(units=5), save(trained, tmp_path))
    message = str(raised.value)
    assert message.startswith("`checkpoint` has other shapes than the model: '")
    assert message.count("in the checkpoint") == 7
    assert "(2, 3) in the checkpoint, (2, 5) in the model" in message


def test_no_name_in_common_is_always_an_error(trained: Any) -> None:
    with pytest.raises(ValueError, match="other names"):
        OfflinePredictor(trained, {"weight": np.ones(2)})


def test_a_module_takes_a_checkpoint(tmp_path: Path) -> None:
    class Scale(tf.Module):
        def __init__(self, scale: float) -> None:
            super().__init__()
            self.parts = [tf.Variable(scale)]

        def __call__(self, x: Any) -> Any:
            return x * self.parts[0]

    path = tf.train.Checkpoint(module=Scale(3.0)).save(str(tmp_path / "ckpt"))
    assert OfflinePredictor(Scale(1.0), path, strict=True)(X)["output"].numpy()[0, 0] == 3
    assert OfflinePredictor(Scale(1.0), {"parts.0": np.array(4.0)})(X)["output"].numpy()[0, 0] == 4
    file = tmp_path / "model.keras"
    file.touch()
    with pytest.raises(ValueError, match="Keras") as raised:
        OfflinePredictor(Scale(1.0), file)
    assert str(raised.value) == (
        f"`checkpoint` '{file}' is a file of Keras, but `model` is no Keras model"
    )


def test_a_file_that_does_not_exist_is_an_error(trained: Any, tmp_path: Path) -> None:
    for name in ("model.keras", "model.weights.h5", "ckpt-1", "model.safetensors"):
        with pytest.raises(FileNotFoundError):
            OfflinePredictor(trained, tmp_path / name)


def test_a_file_of_another_kind_is_an_error(trained: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.touch()
    with pytest.raises(ValueError, match="checkpoint") as raised:
        OfflinePredictor(trained, path)
    assert str(raised.value) == (
        "`checkpoint` must be a `.keras`, `.weights.h5` or `.safetensors` file, the prefix of a "
        f"tf.train.Checkpoint, the folder of a SavedModel, or a mapping, got '{path}'"
    )


def test_what_keras_exported_gives_its_weights(trained: Any, tmp_path: Path) -> None:
    trained.export(tmp_path / "exported", verbose=False)
    predictor = OfflinePredictor(_fresh(), tmp_path / "exported", strict=True)
    assert np.array_equal(predictor(X)["output"], trained(X))


def _normalizing() -> Any:
    return keras.Sequential([keras.Input((2,)), layers.Normalization(), layers.Dense(1)])


@pytest.mark.parametrize("save", [_safetensors, _keras, _h5, _checkpoint, _names])
def test_statistics_of_inputs_are_weights_too(
    save: Callable[[Any, Path], Any], tmp_path: Path
) -> None:
    model, fresh = _normalizing(), _normalizing()
    model.layers[0].adapt(np.array([[3.0, 1.0], [5.0, 9.0]]))
    before = fresh(X).numpy()
    predictor = OfflinePredictor(fresh, save(model, tmp_path), strict=True)
    assert np.array_equal(predictor(X)["output"], model(X))
    assert np.array_equal(fresh(X), before)


def _reading(texts: list[str]) -> Any:
    words = layers.TextVectorization(output_sequence_length=2)
    words.adapt(texts)
    embedding = layers.Embedding(9, 2, embeddings_initializer="uniform")
    return keras.Sequential([keras.Input((), dtype="string"), words, embedding])


def test_a_file_of_other_words_than_the_model_has_is_an_error(tmp_path: Path) -> None:
    model = _reading(["one two", "two"])
    path, texts = _keras(model, tmp_path), np.array(["two one"])
    for predictor in (
        OfflinePredictor(None, path),
        OfflinePredictor(_reading(["one two", "two"]), path),
    ):
        assert np.array_equal(predictor(texts)["output"], model(tf.constant(texts)))
    with pytest.raises(ValueError, match="holds other vocabularies than `model`, in 'assets/"):
        OfflinePredictor(_reading(["one two", "one"]), path)


@pytest.mark.parametrize("save", [_keras, _h5])
def test_a_model_in_training_takes_an_earlier_file_of_its_own(
    save: Callable[[Any, Path], Path], trained: Any, tmp_path: Path
) -> None:
    path, before = save(trained, tmp_path), trained(X)
    optimizer = trained.optimizer
    trained.fit(X, X[:, :1], verbose=0)
    after = trained(X)
    assert np.array_equal(OfflinePredictor(trained, path, strict=True)(X)["output"], before)
    assert np.array_equal(trained(X), after)
    assert trained.optimizer is optimizer
    trained.fit(X, X[:, :1], verbose=0)
