"""The predictor for a model that is not in training: its weights come from a checkpoint."""

import contextlib
import os
from collections.abc import Mapping
from typing import Any, final

from milepost.predictors._frameworks import framework_of
from milepost.predictors._get_predictor import get_predictor
from milepost.predictors._options import Forward, Inputs, Outputs
from milepost.predictors._predictor import Predictor


@final
class OfflinePredictor(Predictor):
    """A predictor on a copy of a model with the weights of a checkpoint.

    It runs the very code that runs in training, and gives the same numbers. The model that is
    passed stays as it is.

    Args:
        model: a `torch.nn.Module`.
        checkpoint: path of a file that `torch.save` wrote, of a `.safetensors` file, or a mapping
            from names to tensors. The weights may also lie one level down, under `"state_dict"`,
            `"model_state_dict"` or `"model"`. `"module."` before and `"_orig_mod."` in a name
            are left out where that makes names match. Files are read without running code that is
            in them. None: the model's own weights of now.
        outputs, inputs, forward, device, autocast, channels_last: as for `get_predictor`.
        strict: raise if a name is only in the checkpoint or only in the model. By default a
            warning lists both sides, and what the checkpoint lacks keeps the model's own values.

    Raises:
        ValueError: shapes differ (the message lists them all), no name matches, `strict` is on
            and names differ, or the file holds no weights.
    """

    def __init__(
        self,
        model: Any,
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
        framework_of(model)
        from milepost.predictors._torch_checkpoint import load_copy

        self._predictor = get_predictor(
            load_copy(model, checkpoint, strict=strict, device=device, channels_last=channels_last),
            inputs,
            outputs,
            forward=forward,
            device=device,
            autocast=autocast,
            channels_last=channels_last,
        )

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
