"""The net of the contract in the styles of Keras and TensorFlow."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from tests.predictors.sides import Array, Side


class TFSide(Side):
    home = "CPU:0"

    def build(self) -> Any:
        raise NotImplementedError

    def net(self) -> Any:
        keras.utils.set_random_seed(0)
        net = self.build()
        net(tf.random.normal((8, 4)), training=True)
        return net

    def tensor(self, array: Array) -> tf.Tensor:
        return tf.constant(array)

    def infer(self, net: Any, image: tf.Tensor) -> dict[str, Any]:
        outputs: dict[str, Any] = net(image, training=False)
        return outputs

    def state(self, net: Any) -> dict[str, Array]:
        return {str(i): np.array(x.numpy()) for i, x in enumerate(net.variables)}

    def averaged(self, net: Any) -> tuple[Any, Any]:
        return self.weightless(), net

    def weightless(self) -> Any:
        return layers.ReLU()


def _trunk() -> keras.Sequential:
    parts = [layers.Dense(4, name="dense"), layers.BatchNormalization(name="norm")]
    return keras.Sequential([*parts, layers.ReLU(name="relu")], name="trunk")


class FunctionalSide(TFSide):
    inners = ("drop", "head", "trunk", "trunk.dense", "trunk.norm", "trunk.relu", "twice")

    def build(self) -> keras.Model:
        image = keras.Input((4,), name="image")
        twice = layers.Dense(4, name="twice")
        embedding = twice(twice(layers.Dropout(0.5, name="drop")(_trunk()(image))))
        logits = layers.Dense(2, name="head")(embedding)
        return keras.Model(image, {"embedding": embedding, "logits": logits})

    def bfloat16(self) -> tuple[Any, dict[str, Any]]:
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy("mixed_bfloat16")
        try:
            return self.net(), {}
        finally:
            keras.config.set_dtype_policy(before)


class Subclassed(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.trunk = _trunk()
        self.drop = layers.Dropout(0.5)
        self.twice = layers.Dense(4)
        self.head = layers.Dense(2)

    def call(self, image: Any, training: bool = True) -> dict[str, Any]:
        hidden = self.drop(self.trunk(image, training=training), training=training)
        embedding = self.twice(self.twice(hidden))
        return {"embedding": embedding, "logits": self.head(embedding)}


class SubclassedSide(FunctionalSide):
    def build(self) -> keras.Model:
        return Subclassed()


class Linear(tf.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.kernel = tf.Variable(tf.random.normal((4, size)))
        self.bias = tf.Variable(tf.zeros(size))

    def __call__(self, x: Any) -> Any:
        return x @ tf.cast(self.kernel, x.dtype) + tf.cast(self.bias, x.dtype)


class Norm(tf.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mean = tf.Variable(tf.zeros(4), trainable=False)

    def __call__(self, x: Any, training: bool) -> Any:
        if training:
            self.mean.assign(0.9 * self.mean + 0.1 * tf.reduce_mean(x, 0))
        return x - tf.cast(self.mean, x.dtype)


class Module(tf.Module):
    def __init__(self) -> None:
        super().__init__()
        self.trunk: list[Any] = [Linear(4), Norm()]
        self.twice = Linear(4)
        self.head = Linear(2)

    def __call__(self, image: Any, training: bool = True) -> dict[str, Any]:
        dense, norm = self.trunk
        hidden = tf.nn.relu(norm(dense(image), training))
        hidden = tf.nn.dropout(hidden, 0.5) if training else hidden
        embedding = self.twice(self.twice(hidden))
        return {"embedding": embedding, "logits": self.head(embedding)}


class ModuleSide(TFSide):
    inners = ("head", "trunk.0", "trunk.1", "twice")

    def build(self) -> tf.Module:
        return Module()

    def bfloat16(self) -> tuple[Any, dict[str, Any]]:
        def forward(model: Any, image: Any) -> Any:
            return model(tf.cast(image, tf.bfloat16), training=False)

        return self.net(), {"forward": forward}
