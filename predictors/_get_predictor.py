"""The predictor for a model, whatever framework made it."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

from milepost.predictors._frameworks import Framework, framework_of
from milepost.predictors._no_model import NoModel
from milepost.predictors._options import Forward, Inputs, Options, Outputs
from milepost.predictors._predictor import Predictor

Weights = Literal["live", "snapshot", "ema"]


def get_predictor(
    model: Any,
    inputs: Inputs = None,
    outputs: Outputs = None,
    *,
    forward: Forward | None = None,
    device: Any = None,
    weights: Weights = "live",
    ema: Any = None,
    autocast: Any = None,
    channels_last: bool = False,
) -> Predictor:
    """Return the predictor for a model, to be called at any time in its training.

    A wrapped model (`DistributedDataParallel`, `DataParallel`, `torch.compile`, `AveragedModel`)
    is unwrapped, and what is compiled inside it runs as it was written: nothing communicates,
    nothing compiles again.

    A model of TensorFlow is traced once for all batches, of whatever size and with whatever
    weights, also where its user runs it in Python; `forward` is traced too. A trace is made anew
    where layers were replaced, not where a number among their attributes was. Keras models with
    `run_eagerly` run in Python.

    Args:
        model: a `torch.nn.Module`, a Keras model, a `tf.Module`, a `tf.function`; or a predictor,
            such as an `OfflinePredictor`; None for a predictor that gives nothing, where the
            batches hold all that is needed.
        inputs: the entries of the batch that go to the model, by keyword if each is a parameter
            of its forward pass, else by position. None: the only entry there is, else those that
            the parameters name.
        outputs: what to give; `Predictor` says how outputs are named. None: all the model's own.
        forward: `forward(model, batch)`, giving a mapping of named outputs, replaces the model's
            own call; the batch is on the device already. Inner modules can still be had.
        device: where to run. On another device than the model's, a copy there takes the live
            weights at each call or scope.
        weights: `"live"`: those of the moment of each call; `"snapshot"`: those of now, copied;
            `"ema"`: those of `ema`.
        ema: a model that holds averaged weights, kept by the user; for TensorFlow also a mapping
            from names, those of `Predictor.weights`, to values.
        autocast: floating dtype, or its name, to compute in. None: autocast is off, whatever the
            caller's own state.
        channels_last: lay out images channels last, and the weights too where they are a copy.

    Raises:
        TypeError: the model is of no framework that is supported.
        ValueError: `weights` is `"ema"` and there is no `ema`, or an argument is wrong.
    """
    if weights not in ("live", "snapshot", "ema"):
        msg = f"`weights` must be 'live', 'snapshot' or 'ema', got {weights!r}"
        raise ValueError(msg)
    if weights == "ema" and ema is None:
        msg = "`weights` is 'ema', but no averaged model was given; pass it as `ema=`"
        raise ValueError(msg)
    if model is None:
        return NoModel()
    if isinstance(model, Predictor):
        if (forward, device, weights, autocast, channels_last) != (None, None, "live", None, False):
            msg = "`model` is a predictor, which has its options already; pass them when it is made"
            raise ValueError(msg)
        return model.fetching(outputs, inputs=inputs)
    options = Options.of(
        inputs, outputs, forward=forward, autocast=autocast, channels_last=channels_last
    )
    if weights == "ema" and isinstance(ema, Mapping) and framework_of(model) == "tensorflow":
        return _maker("tensorflow")(model, options, device=device, averages=ema)
    source = ema if weights == "ema" else model
    make = _maker(framework_of(source))
    if weights == "snapshot":
        return make(source, options).replicate(device)
    return make(source, options, device=device)


def _maker(framework: Framework) -> Callable[..., Predictor]:
    if framework == "torch":
        from milepost.predictors._torch_predictor import TorchPredictor

        return TorchPredictor
    from milepost.predictors._tf_predictor import TFPredictor

    return TFPredictor
