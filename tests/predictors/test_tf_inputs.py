"""Which entries of a batch reach a model of TensorFlow, and what they become."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from milepost.errors import UnknownNameError
from milepost.predictors import get_predictor, to_numpy

A, B = np.array([[1.0]], np.float32), np.array([[2.0]], np.float32)
BATCH = {"b": B, "a": A, "label": np.array([3])}


def _difference(nest: Any) -> keras.Model:
    """A functional model of two inputs that gives a - 2 b."""
    a, b = keras.Input((1,), name="a"), keras.Input((1,), name="b")
    return keras.Model(nest(a, b), a - 2 * b)


def _output(model: Any, batch: Any, inputs: Any = None) -> Any:
    return to_numpy(get_predictor(model, inputs)(batch)["output"]).tolist()


@pytest.mark.parametrize(
    "nest",
    [lambda a, b: {"b": b, "a": a}, lambda a, b: [a, b], lambda a, b: [b, a], lambda a, b: (a, b)],
)
def test_a_functional_model_takes_what_its_inputs_are_called(nest: Any) -> None:
    model = _difference(nest)
    assert _output(model, BATCH) == [[-3]]
    assert _output(model, BATCH, ["b", "a"]) == [[-3]]


def test_inputs_of_other_names_go_by_position() -> None:
    model = _difference(lambda a, b: [a, b])
    assert _output(model, {"x": A, "y": B, "label": A}, ["x", "y"]) == [[-3]]
    assert _output(model, {"x": A, "y": B, "label": A}, ["y", "x"]) == [[0]]


def test_inputs_of_another_number_are_an_error() -> None:
    with pytest.raises(ValueError, match="takes") as raised:
        get_predictor(_difference(lambda a, b: [a, b]), ["a"])(BATCH)
    assert str(raised.value) == "the model takes 'a', 'b', but `inputs` is ('a',)"


def test_an_input_of_a_functional_model_that_is_not_in_the_batch_is_an_error() -> None:
    with pytest.raises(ValueError, match="takes") as raised:
        get_predictor(_difference(lambda a, b: [a, b]))({"x": A, "y": B})
    assert str(raised.value) == (
        "the model takes 'a', 'b' (required: 'a', 'b'), but the batch has 'x', 'y'; "
        "choose what goes to the model, for example `inputs=('x',)`"
    )


def test_a_lone_input_takes_the_entry_of_its_name_or_the_one_there_is() -> None:
    image = keras.Input((1,), name="image")
    for model in (keras.Model(image, image * 2), keras.Model([image], image * 2)):
        assert _output(model, {"label": A, "image": B}) == [[4]]
        assert _output(model, {"x": B}) == [[4]]
        assert _output(model, B) == [[4]]
        assert _output(model, {"x": B, "label": A}, "x") == [[4]]


class Difference(keras.Model):
    def call(self, a: Any, b: Any = 0.0, training: bool = True) -> Any:
        return a - 2 * b + (1 if training else 0)


class OfDict(keras.Model):
    def call(self, inputs: Any) -> Any:
        return inputs["a"] - 2 * inputs["b"]


def test_a_subclassed_model_takes_what_the_parameters_of_call_are_called() -> None:
    assert _output(Difference(), BATCH) == [[-3]]
    assert _output(Difference(), {"a": A, "label": A}) == [[1]]
    assert _output(Difference(), {"x": A, "y": B, "label": A}, ["x", "y"]) == [[-3]]


def test_several_inputs_of_a_model_with_one_parameter_go_as_a_dict() -> None:
    assert _output(OfDict(), BATCH, ["a", "b"]) == [[-3]]


def test_a_module_takes_what_its_parameters_are_called() -> None:
    class Module(tf.Module):
        def __call__(self, a: Any, b: Any, is_training: bool = True) -> Any:
            return a - 2 * b + (1 if is_training else 0)

    assert _output(Module(), BATCH) == [[-3]]


def test_a_function_takes_what_its_parameters_are_called() -> None:
    @tf.function
    def difference(a: Any, *, b: Any, training: bool = True) -> Any:
        return a - 2 * b + (1 if training else 0)

    assert _output(difference, BATCH) == [[-3]]
    spec = tf.TensorSpec([None, 1], tf.float32)
    concrete = difference.get_concrete_function(spec, b=spec, training=False)
    assert _output(concrete, BATCH) == [[-3]]


def test_texts_reach_a_model_of_strings() -> None:
    words = layers.StringLookup(vocabulary=["cat", "dog"])
    model = keras.Sequential([keras.Input((), dtype="string"), words])
    for texts in (["dog", "cat"], np.array(["dog", "cat"]), tf.constant(["dog", "cat"])):
        assert _output(model, {"input": texts}) == [2, 1]


def test_string_outputs_become_str() -> None:
    model = layers.Lambda(tf.strings.upper, output_shape=())
    array = to_numpy(get_predictor(model)(np.array(["é", "b"]))["output"])
    assert array.dtype.kind == "U"
    assert array.tolist() == ["é", "B"]


def test_ragged_tensors_reach_the_model_and_are_no_arrays() -> None:
    @tf.function
    def lengths(x: Any) -> Any:
        return {"ragged": x, "length": x.row_lengths()}

    outputs = get_predictor(lengths)(tf.ragged.constant([[1, 2], [3]]))
    assert outputs["length"].numpy().tolist() == [2, 1]
    assert outputs["ragged"].to_list() == [[1, 2], [3]]
    with pytest.raises(TypeError, match="Ragged") as raised:
        to_numpy(outputs["ragged"])
    assert str(raised.value) == (
        "a RaggedTensor is no array; make it a dense tensor, as by `to_tensor` or `to_dense`"
    )


def test_sparse_tensors_reach_the_model() -> None:
    total = tf.function(lambda x: tf.sparse.reduce_sum(x, axis=1))
    assert _output(total, tf.sparse.from_dense([[1, 2], [0, 3]])) == [3, 3]


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0)[::-1],
        np.broadcast_to(np.float32(3), (2, 2)),
        np.arange(3, dtype=">i4"),
        np.array([True, False]),
        np.array(5),
    ],
)
def test_any_numeric_array_becomes_a_tensor(array: Any) -> None:
    assert _output(tf.function(lambda x: x), array) == array.tolist()


def test_what_is_no_array_cannot_go_to_the_model() -> None:
    with pytest.raises(TypeError, match="input") as raised:
        get_predictor(tf.function(lambda x: x))({"x": object()})
    assert str(raised.value) == "an input of the model must be an array or text, got object"


def test_a_forward_of_the_user_gets_the_whole_batch_as_tensors() -> None:
    seen: list[Any] = []

    def forward(model: Any, batch: Any) -> Any:
        seen.append(batch)
        return {"y": model(batch["images"][0])}

    date = np.array(["2020-01-01"], "datetime64[D]")
    batch = {"images": [A], "names": np.array(["cat"]), "meta": {"size": B}, "date": date}
    model = keras.Sequential([keras.Input((1,)), layers.ReLU()])
    predictor = get_predictor(model, forward=forward, outputs=["y", "re_lu"])
    predictor = get_predictor(model, forward=forward)
    assert predictor(batch)["y"].numpy().tolist() == [[1]]
    assert tf.is_tensor(seen[0]["names"])
    assert tf.is_tensor(seen[0]["meta"]["size"])
    assert list(seen[0]) == ["images", "names", "meta"]


def test_a_forward_may_branch_on_tensors() -> None:
    def forward(model: Any, batch: Any) -> Any:
        if tf.reduce_sum(batch) > 0:
            return {"y": batch}
        return {"y": -batch}

    assert get_predictor(layers.ReLU(), forward=forward)(-A)["y"].numpy().tolist() == [[1]]


def test_a_forward_of_the_user_must_give_a_mapping() -> None:
    predictor = get_predictor(layers.ReLU(), forward=lambda model, batch: model(batch))
    with pytest.raises(TypeError, match="mapping") as raised:
        predictor(A)
    assert str(raised.value) == (
        "`forward` must return a mapping of output names to tensors, got SymbolicTensor"
    )


def test_a_tuple_is_no_batch() -> None:
    with pytest.raises(TypeError, match="mapping"):
        get_predictor(layers.ReLU())((A, B))


def test_options_of_torch_are_errors() -> None:
    with pytest.raises(ValueError, match="autocast") as raised:
        get_predictor(layers.ReLU(), autocast="bfloat16")
    assert str(raised.value) == (
        "`autocast` is of PyTorch, got 'bfloat16'; give a Keras model a dtype policy, such as "
        "'mixed_bfloat16'"
    )
    with pytest.raises(ValueError, match="channels_last") as raised:
        get_predictor(layers.ReLU(), channels_last=True)
    assert str(raised.value) == (
        "`channels_last` is of PyTorch; a Keras layer has its `data_format`"
    )


def test_a_device_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(ValueError, match="device") as raised:
        get_predictor(layers.ReLU(), device="GPU:7")
    assert str(raised.value) == (
        "`device` must be one of TensorFlow's, '/device:CPU:0', got 'GPU:7'"
    )


def test_what_cannot_be_called_is_an_error() -> None:
    with pytest.raises(TypeError, match="callable") as raised:
        get_predictor(tf.Module())
    assert str(raised.value) == "`model` must be callable, got Module; give it a `__call__`"


def test_an_unknown_input_is_an_error() -> None:
    with pytest.raises(UnknownNameError, match="unknown input 'lable'; did you mean 'label'"):
        get_predictor(Difference(), ["lable"])(BATCH)


def test_a_keras_model_on_another_backend_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(TypeError, match="jax") as raised:
        get_predictor(layers.ReLU())
    assert str(raised.value) == (
        "`model` is a Keras model on the backend 'jax', and Milepost runs Keras on 'tensorflow' "
        "and 'torch'; set KERAS_BACKEND before Keras is imported"
    )
