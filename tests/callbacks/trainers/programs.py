"""Trainings in processes of their own, and what they write."""

import subprocess
import sys
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

FIT = """
import sys
import keras, numpy as np
import milepost as mp

def not_there():
    assert "torch" not in sys.modules, "torch was imported"

class Look(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        not_there()

keras.utils.set_random_seed(0)
image, label = np.eye(8, dtype=np.float32), np.arange(8) % 2
model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(2, name="embedding")])
model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
runner = mp.InferenceRunner(
    {"image": image, "label": label},
    [mp.Retrieval(embeddings="embedding"), mp.MatchRate(embeddings="embedding")],
    inputs=("image",),
)
best = mp.KeepBest("validation/hit_rate@1")
callbacks = [mp.trainers.keras(runner, best, rundir=sys.argv[1]), Look()]
model.fit(image, label, 2, epochs=2, verbose=0, callbacks=callbacks)
not_there()
"""
LOOP = """
import sys
import numpy as np, torch
import milepost as mp

image, label = torch.eye(8), np.arange(8) % 2
model = torch.nn.Sequential(torch.nn.Linear(8, 2))
runner = mp.InferenceRunner(
    {"image": image, "label": label},
    [mp.Retrieval(embeddings="0"), mp.MatchRate(embeddings="0")],
    inputs=("image",),
)
with mp.Loop(model, callbacks=[runner], rundir=sys.argv[1]) as loop:
    for _ in loop.epochs(2):
        for _ in loop.steps(range(4)):
            pass
        loop.log({"train/loss": 0.5})
assert "keras" not in sys.modules and "tensorflow" not in sys.modules
"""
TENSORBOARD = """
import sys
from milepost.callbacks import Record
from milepost.callbacks.monitors import TensorBoard

monitor = TensorBoard(sys.argv[1])
monitor.write(Record(runner="validation", scalars={"validation/x": 0.5}, step=3, error="it broke"))
monitor.close()
assert not {"torch", "keras", "tensorflow"} & set(sys.modules)
"""

MIRRORED = """
import keras, numpy as np, tensorflow as tf
import milepost as mp

(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
image = np.random.default_rng(0).normal(size=(24, 4)).astype(np.float32)
label = np.arange(24) % 3

def trained(*runners):
    keras.utils.set_random_seed(0)
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        layers = [keras.layers.Dense(3), keras.layers.BatchNormalization(), keras.layers.Dense(3)]
        model = keras.Sequential([keras.Input((4,)), *layers])
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("adam", loss, metrics=["accuracy"])
    trainer = mp.trainers.keras(*runners)
    fit = dict(batch_size=4, epochs=2, shuffle=False, verbose=0, callbacks=[trainer])
    history = model.fit(image, label, **fit).history
    own = {name: values for name, values in history.items() if "/" not in name}
    return own, model.get_weights(), trainer

runner = mp.InferenceRunner(
    (tf.data.Dataset.from_tensor_slices((image, label)).batch(5)),
    [mp.ClassificationError(logits="output", k=(1,))],
    every="4 steps",
)
plain, examined = trained(), trained(runner)
assert plain[0] == examined[0], (plain[0], examined[0])
for one, other in zip(plain[1], examined[1], strict=True):
    np.testing.assert_array_equal(one, other)
steps = [step for step, _ in examined[2].monitors.get_history("validation/error@1")]
assert steps == [4, 8, 12], steps
"""
ON_TORCH = """
import os, threading
os.environ["KERAS_BACKEND"] = "torch"
import keras, numpy as np
import milepost as mp

image, label = np.eye(8, dtype=np.float32), np.arange(8) % 2
threads = set()

def trained(*runners):
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(3), keras.layers.Dropout(0.5), keras.layers.Dense(2)]
    model = keras.Sequential([keras.Input((8,)), *layers])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    trainer = mp.trainers.keras(*runners)
    model.fit(image, label, 2, epochs=2, verbose=0, shuffle=False, callbacks=trainer)
    return model.get_weights(), trainer

class Threads(mp.Callback):
    def after_step(self):
        threads.add(threading.current_thread())

runner = mp.InferenceRunner(
    {"image": image, "label": label},
    [mp.ClassificationError(logits="output", k=(1,))],
    every="3 steps",
    inputs=("image",),
)
(plain, _), (examined, trainer) = trained(), trained(runner, Threads())
for one, other in zip(plain, examined, strict=True):
    np.testing.assert_array_equal(one, other)
assert [step for step, _ in trainer.monitors.get_history("validation/error@1")] == [3, 6]
assert threads == {threading.main_thread()}
"""


def run(program: str, folder: Path) -> None:
    command = [sys.executable, "-c", program, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def events(folder: Path) -> dict[str, list[int]]:
    """Return the steps of each tag."""
    reader = EventAccumulator(str(folder)).Reload()
    return {tag: [e.step for e in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}
