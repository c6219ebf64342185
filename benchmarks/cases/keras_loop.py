"""One evaluation of a trivial Keras model over a tf.data pipeline: the mean of its outputs."""

import itertools
from typing import Any

from benchmarks.cases.case import Case, Run
from benchmarks.data import Array


def milepost(rows: Array, labels: Array, *, batch_size: int, batches: int) -> Run:
    import milepost as mp

    own, data = model(rows), pipeline(rows[: batches * batch_size], batch_size)
    runner, epochs = mp.InferenceRunner(data, [mp.ScalarStats("output")]), itertools.count(1)
    return lambda: runner.maybe_run(own, epoch=next(epochs))


def predict(rows: Array, labels: Array, *, batch_size: int, batches: int) -> Run:
    own, data = model(rows), pipeline(rows[: batches * batch_size], batch_size)
    return lambda: float(own.predict(data, verbose=0).mean())


def model(rows: Array) -> Any:
    import keras

    layers = keras.layers
    return keras.Sequential([keras.Input(rows.shape[1:]), layers.Dense(1), layers.Reshape(())])


def pipeline(rows: Array, batch_size: int) -> Any:
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(rows).batch(batch_size)


CASE = Case({"milepost": milepost, "Keras predict": predict})
