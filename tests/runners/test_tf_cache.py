"""What a model of TensorFlow gave is found again, and nothing else."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from milepost.callbacks import Loop, Record
from milepost.inferencers import Retrieval
from milepost.predictors import get_predictor
from milepost.predictors._tf_trace import Trace
from milepost.runners import InferenceRunner

IMAGES = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
LABELS = np.arange(50) % 5
DATA = {"image": IMAGES, "label": LABELS}


def net(units: int = 4, *, slope: float = 0.2) -> Any:
    keras.utils.set_random_seed(0)
    image = keras.Input((6,), name="image")
    hidden = keras.layers.BatchNormalization(name="norm")(keras.layers.Dense(8, name="a")(image))
    hidden = keras.layers.Dropout(0.5)(keras.layers.LeakyReLU(slope, name="act")(hidden))
    return keras.Model(image, keras.layers.Dense(units, name="b")(hidden), name="net")


def examine(model: Any, data: Any = None, **options: Any) -> tuple[Any, Any]:
    """Return the metrics, and how many samples were found and how many were not."""
    records: list[Record] = []
    inferencers = [Retrieval(embeddings=options.pop("embeddings", "output"), k=(1,))]
    if "forward" not in options:
        options["inputs"] = ("image",)
    runner = InferenceRunner(data or DATA, inferencers, batch_size=8, **options)
    with Loop(model, monitors=[records.append]) as loop:
        metrics = runner.run(loop)
    timings = records[0].timings
    return metrics, tuple(timings.get(f"validation/cache/{x}") for x in ("hits", "misses"))


@pytest.mark.parametrize("options", [{}, {"weights": "snapshot"}, {"embeddings": "act"}])
def test_metrics_are_the_same_to_the_bit_with_and_without(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, _ = examine(net(), **options)
    assert examine(net(), cache=tmp_path, **options) == (plain, (0, 50))
    monkeypatch.setattr(Trace, "__call__", None)  # nobody runs the model
    assert examine(net(), cache=tmp_path, **options) == (plain, (50, 0))


def test_a_pipeline_is_found_again(tmp_path: Path) -> None:
    data = tf.data.Dataset.from_tensor_slices(DATA).batch(8)
    plain, _ = examine(net(), data)
    assert examine(net(), data, cache=tmp_path) == (plain, (0, 50))
    assert examine(net(), data, cache=tmp_path) == (plain, (50, 0))


def next_weight(model: Any) -> None:
    kernel = model.get_layer("a").kernel
    values = kernel.numpy()
    values[0, 0] = np.nextafter(values[0, 0], np.float32(9))
    kernel.assign(values)


def doubled(model: Any, batch: Any) -> Any:
    return {"output": model(batch["image"], training=False) * 2}


CHANGES: dict[str, Any] = {
    "one weight, by one unit in the last place": next_weight,
    "statistics of batch normalisation": lambda x: x.get_layer("norm").moving_mean.assign_add(
        [1e-6] * 8
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_other_weights_are_another_model(change: str, tmp_path: Path) -> None:
    model = net()
    examine(model, cache=tmp_path)
    CHANGES[change](model)
    assert examine(model, cache=tmp_path)[1] == (0, 50)


def test_another_graph_is_another_model(tmp_path: Path) -> None:
    examine(net(), cache=tmp_path)
    assert examine(net(5), cache=tmp_path)[1] == (0, 50)
    assert examine(net(slope=0.25), cache=tmp_path)[1] == (0, 50)
    assert examine(net(), cache=tmp_path, forward=doubled)[1] == (0, 50)
    assert examine(net(), cache=tmp_path, embeddings="a")[1] == (0, 50)
    assert examine(net(), cache=tmp_path)[1] == (50, 0)


def test_only_a_batch_that_changed_is_encoded(tmp_path: Path) -> None:
    examine(net(), cache=tmp_path)
    images = IMAGES.copy()
    images[20, 3] = np.nextafter(images[20, 3], np.float32(9))
    assert examine(net(), {"image": images, "label": LABELS}, cache=tmp_path)[1] == (42, 8)


def drawing(model: Any, batch: Any) -> Any:
    return {"output": model(batch["image"], training=False) * tf.random.uniform([])}


def writing(model: Any, batch: Any) -> Any:
    model.get_layer("b").bias.assign_add([1.0] * 4)
    return {"output": model(batch["image"], training=False)}


@pytest.mark.parametrize(
    ("forward", "reason"),
    [
        (drawing, "the model runs the operation RandomUniform, whose result may not repeat"),
        (writing, "the model (writes to '|runs the operation Assign)"),
    ],
)
def test_a_model_that_may_not_repeat_is_run_each_time(
    forward: Any, reason: str, tmp_path: Path
) -> None:
    for _ in range(2):
        with pytest.warns(RuntimeWarning, match=f"^cache: it is not used: {reason}"):
            assert examine(net(), cache=tmp_path, forward=forward)[1] == (0, 0)


def test_a_model_that_python_runs_is_run_each_time(tmp_path: Path) -> None:
    model = net()
    model.compile(run_eagerly=True)
    with pytest.warns(RuntimeWarning, match=r"^cache: it is not used: the model runs in Python"):
        assert examine(model, cache=tmp_path)[1] == (0, 0)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "int64", "bool", "complex64"])
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)])
def test_an_output_comes_back_as_it_was(dtype: str, shape: tuple[int, ...]) -> None:
    predictor = get_predictor(net())
    identity = predictor.identity()
    value = tf.cast(np.arange(np.prod(shape, dtype=int)).reshape(shape), dtype)
    packed = identity.pack(value)
    assert packed is not None
    back = identity.unpack(packed)
    assert back.dtype == value.dtype
    assert np.array_equal(back.numpy(), value.numpy())
    assert identity.pack(tf.constant("text")) is None
    assert identity.pack(tf.ragged.constant([[1], [1, 2]])) is None
