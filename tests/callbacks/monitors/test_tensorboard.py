import io
from pathlib import Path

import numpy as np
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from milepost.callbacks import Record
from milepost.callbacks.monitors import TensorBoard


def test_tensorboard_reads_what_was_written(tmp_path: Path) -> None:
    monitor = TensorBoard(tmp_path)
    for step, value in ((4, 0.25), (8, 0.5)):
        scalars = {"validation/hit_rate@1": value}
        timings = {"validation/time/load_s": 0.125}
        monitor.write(
            Record(runner="validation", step=step, time=step, scalars=scalars, timings=timings)
        )
    reader = EventAccumulator(str(tmp_path)).Reload()
    events = reader.Scalars("validation/hit_rate@1")
    assert [(event.step, event.wall_time, event.value) for event in events] == [
        (4, 4.0, 0.25),
        (8, 8.0, 0.5),
    ]
    assert [event.value for event in reader.Scalars("validation/time/load_s")] == [0.125, 0.125]
    monitor.close()


def test_a_record_without_a_step_takes_its_number(tmp_path: Path) -> None:
    monitor = TensorBoard(tmp_path)
    for _ in range(3):
        monitor.write(Record(scalars={"x": 1.0}))
    monitor.close()
    reader = EventAccumulator(str(tmp_path)).Reload()
    assert [event.step for event in reader.Scalars("x")] == [0, 1, 2]


def test_an_error_is_a_text(tmp_path: Path) -> None:
    monitor = TensorBoard(tmp_path)
    monitor.write(Record(runner="validation", scalars={}, step=7, error="ValueError: no"))
    monitor.close()
    reader = EventAccumulator(str(tmp_path)).Reload()
    assert reader.SummaryMetadata("validation/error").plugin_data.plugin_name == "text"
    event = reader.Tensors("validation/error")[0]
    assert (event.step, event.tensor_proto.string_val) == (7, [b"ValueError: no"])


def test_a_picture_is_shown_as_it_is(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    monitor = TensorBoard(tmp_path)
    monitor.write(Record(step=3, pictures={"validation/roc": picture}))
    monitor.close()
    event = EventAccumulator(str(tmp_path)).Reload().Images("validation/roc")[0]
    shown = Image.open(io.BytesIO(event.encoded_image_string))
    assert (event.step, event.width, event.height) == (3, 6, 4)
    assert np.array_equal(np.asarray(shown), picture)


def test_a_histogram_counts_the_finite_values(tmp_path: Path) -> None:
    values = np.array([0.0, 0.5, 1.0, 1.0, np.nan, np.inf])
    monitor = TensorBoard(tmp_path)
    monitor.write(Record(step=3, histograms={"weights": values}))
    monitor.close()
    event = EventAccumulator(str(tmp_path)).Reload().Histograms("weights")[0]
    shown = event.histogram_value
    assert (event.step, shown.num, shown.min, shown.max) == (3, 4, 0, 1)
    limits = dict(zip(shown.bucket_limit, shown.bucket, strict=True))
    assert {limit: count for limit, count in limits.items() if count} == {
        1 / 64: 1,
        0.5 + 1 / 64: 1,
        1: 2,
    }


def test_a_resumed_run_adds_a_file_that_is_read_after_the_others(tmp_path: Path) -> None:
    for step in range(3):
        monitor = TensorBoard(tmp_path)
        monitor.write(Record(scalars={"x": float(step)}, step=step))
        monitor.close()
    assert len(list(tmp_path.iterdir())) == 3
    reader = EventAccumulator(str(tmp_path)).Reload()
    assert [event.step for event in reader.Scalars("x")] == [0, 1, 2]
