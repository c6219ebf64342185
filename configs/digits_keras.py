"""The digits recipe in Keras, the twin of `milepost.configs.digits`.

B is the number of images of a batch, D the number of dimensions of an embedding.
"""

from collections.abc import Sequence
from typing import Any, final

import keras
import numpy as np

from milepost.configs._digits_images import draw_digits


@final
class Digits(dict[str, np.ndarray[Any, Any]]):
    """Handwritten digits, each tilted, moved and with noise: `image` (N, 16, 16, 1) and `label`.

    Args are those of `draw_digits`.
    """

    def __init__(
        self,
        classes: Sequence[int],
        *,
        copies: int = 1,
        orientations: bool = False,
        seed: int = 0,
    ) -> None:
        images, labels = draw_digits(classes, copies=copies, orientations=orientations, seed=seed)
        super().__init__(image=images[..., None], label=labels)


@final
@keras.saving.register_keras_serializable("milepost")
class ConvNet(keras.Model):  # type: ignore[misc] # Keras is not typed
    """Embeddings of unit length, shape (B, D), of images, shape (B, 16, 16, 1).

    Args:
        dimension: D.
        width: channels of the first layer; the second has twice as many.
    """

    def __init__(self, dimension: int = 64, width: int = 16, **options: Any) -> None:
        super().__init__(**options)
        self._sizes = {"dimension": dimension, "width": width}
        layers = keras.layers
        self.backbone = keras.Sequential(
            [
                layers.Conv2D(width, 3, padding="same", use_bias=False),
                layers.BatchNormalization(momentum=0.9, epsilon=1e-5),
                layers.ReLU(),
                layers.MaxPooling2D(),
                layers.Conv2D(2 * width, 3, padding="same", use_bias=False),
                layers.BatchNormalization(momentum=0.9, epsilon=1e-5),
                layers.ReLU(),
                layers.MaxPooling2D(),
                layers.Flatten(),
            ],
            name="backbone",
        )
        self.head = layers.Dense(dimension, name="head")
        self.build((None, 16, 16, 1))

    def build(self, input_shape: Any) -> None:
        """Make the weights."""
        self.backbone.build(input_shape)
        self.head.build(self.backbone.compute_output_shape(input_shape))
        self.built = True

    def call(self, image: Any, training: bool | None = None) -> Any:
        """Return the embeddings."""
        return keras.ops.normalize(self.head(self.backbone(image, training=training)))

    def get_config(self) -> dict[str, Any]:
        """Return what makes an equal model."""
        return {**super().get_config(), **self._sizes}


@final
@keras.saving.register_keras_serializable("milepost")
class SupervisedContrastive(keras.losses.Loss):  # type: ignore[misc] # Keras is not typed
    """The supervised contrastive loss of a batch (Khosla et al., 2020, equation 2).

    For each image, minus the mean over the others of its class of the log of a softmax, over all
    others, of similarity / temperature; then the mean over images that have another of their class.

    Args:
        temperature: the smaller, the more the nearest images count.
    """

    def __init__(self, temperature: float = 0.1, **options: Any) -> None:
        super().__init__(**options)
        self.temperature = temperature

    def call(self, labels: Any, embeddings: Any) -> Any:
        """Return the loss of unit embeddings, shape (B, D), with labels, shape (B,)."""
        ops = keras.ops
        labels = ops.reshape(labels, (-1,))
        oneself = ops.eye(ops.shape(labels)[0], dtype="bool")
        similarity = ops.matmul(embeddings, ops.transpose(embeddings)) / self.temperature
        others = ops.where(oneself, -1e9, similarity)
        log_share = similarity - ops.logsumexp(others, axis=1, keepdims=True)
        positive = ops.logical_and(labels[:, None] == labels, ops.logical_not(oneself))
        weights = ops.cast(positive, log_share.dtype)
        count = ops.sum(weights, axis=1)
        mean = ops.sum(log_share * weights, axis=1) / ops.maximum(count, 1)
        some = ops.cast(count > 0, mean.dtype)
        return -ops.sum(mean * some) / ops.maximum(ops.sum(some), 1)

    def get_config(self) -> dict[str, Any]:
        """Return what makes an equal loss."""
        return {**super().get_config(), "temperature": self.temperature}
