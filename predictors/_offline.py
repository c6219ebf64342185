"""The predictor for a model that is not in training: its weights come from a checkpoint."""

import contextlib
import os
from collections.abc import Mapping
from typing import Any, final

from milepost.predictors._frameworks import framework_of
from milepost.predictors._get_predictor import get_predictor
from milepost.predictors._identity import Identity
from milepost.predictors._options import Forward, Inputs, Outputs
from milepost.predictors._predictor import Predictor


@final
class OfflinePredictor(Predictor):
    """A predictor on a copy of a model with the weights of a checkpoint.

    It runs the very code that runs in training, and gives the same numbers. The model that is
    passed stays as it is. Arguments that are not listed are those of `get_predictor`.

    Args:
        model: a `torch.nn.Module`, a Keras model or a `tf.Module`; None where the checkpoint holds
            the model too: a `.keras` file or the folder of a SavedModel.
        checkpoint: path of a `.safetensors` file, or a mapping from names to tensors; for PyTorch
            also a file that `torch.save` wrote, for TensorFlow also a `.keras` or `.weights.h5`
            file, the prefix of a `tf.train.Checkpoint`, or the folder of a SavedModel. PyTorch's
            may lie one level down, under `"state_dict"`, `"model_state_dict"` or `"model"`;
            `"module."` before and `"_orig_mod."` in a name are left out where that makes names
            match. Names are those of `Predictor.weights`; files of TensorFlow and Keras are
            matched by structure, whatever numbers Keras gave its layers. Files are read without
            running code that is in them. None: the model's own weights of now.
        strict: raise if a name is only in the checkpoint or only in the model. By default a
            warning lists both sides, and what the checkpoint lacks keeps the model's own values.

    Raises:
        ValueError: shapes differ (the message lists them all), no name matches, `strict` is on
            and names differ, or the file holds no weights.
    """

    def __init__(
        self,
        model: Any = None,
        checkpoint: str | os.PathLike[str] | Mapping[str, Any] | None = None,
        outputs: Outputs = None,
        *,
        inputs: Inputs = None,
        forward: Forward | None = None,
        device: Any = None,
        strict: bool = False,
        autocast: Any = None,
        channels_last: bool = False,
    ) -> None:
        how = {"forward": forward, "autocast": autocast, "channels_last": channels_last}
        if model is None:
            model, checkpoint = _load_model(checkpoint), None
        elif framework_of(model) == "tensorflow":
            from milepost.predictors._tf_predictor import TFPredictor

            predictor = get_predictor(
                model, inputs, outputs, device=device, weights="snapshot", **how
            )
            if checkpoint is not None and isinstance(predictor, TFPredictor):
                from milepost.predictors._tf_checkpoint import read_weights

                predictor.take(read_weights(model, checkpoint, strict=strict, depth=2))
            self._predictor = predictor
            return
        else:
            from milepost.predictors._torch_checkpoint import load_copy

            model = load_copy(
                model,
                checkpoint,
                strict=strict,
                device=device,
                channels_last=channels_last,
                depth=2,
            )
        self._predictor = get_predictor(model, inputs, outputs, device=device, **how)

    def forward(self, batch: Any) -> dict[str, Any]:
        return self._predictor.forward(batch)

    def scope(
        self, *, trace_check: bool = False, buffers: Mapping[str, Any] | None = None
    ) -> contextlib.AbstractContextManager[None]:
        return self._predictor.scope(trace_check=trace_check, buffers=buffers)

    def fetching(self, outputs: Outputs, *, inputs: Inputs = None) -> Predictor:
        return self._predictor.fetching(outputs, inputs=inputs)

    def replicate(self, device: Any = None) -> Predictor:
        return self._predictor.replicate(device)

    def weights(self) -> Mapping[str, Any]:
        return self._predictor.weights()

    def identity(self) -> Identity:
        return self._predictor.identity()

    def has_inner(self, name: str) -> bool:
        return self._predictor.has_inner(name)

    @property
    def is_sharded(self) -> bool:
        return self._predictor.is_sharded

    def buffers(self) -> Mapping[str, Any]:
        return self._predictor.buffers()

    @property
    def device(self) -> Any:
        return self._predictor.device

    @property
    def outputs(self) -> tuple[str, ...] | None:
        return self._predictor.outputs

    @property
    def own_outputs(self) -> tuple[str, ...] | None:
        return self._predictor.own_outputs


def _load_model(checkpoint: Any) -> Any:
    """Return the model that a file holds."""
    path = os.fspath(checkpoint) if isinstance(checkpoint, str | os.PathLike) else ""
    if str(path).endswith(".keras"):
        import keras

        return keras.saving.load_model(path, compile=False)
    if os.path.exists(os.path.join(path, "saved_model.pb")):
        from milepost.predictors._tf_checkpoint import load_saved_model

        return load_saved_model(str(path))
    msg = (
        "`model` may be None only where `checkpoint` holds the model, a `.keras` file or the "
        f"folder of a SavedModel, got {checkpoint!r}"
    )
    raise ValueError(msg)
