import io
import math

import pytest
from tqdm import tqdm

from milepost.callbacks import Record
from milepost.callbacks.monitors import Terminal


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "73")


def printed(*records: Record) -> str:
    file = io.StringIO()
    terminal = Terminal(file)
    for record in records:
        terminal.write(record)
    return file.getvalue()


def test_an_evaluation_is_a_headline_and_columns() -> None:
    text = printed(
        Record(scalars={"train/loss": 0.5}, step=99),
        Record(scalars={"train/loss": 0.125}, step=119),
        Record(
            runner="validation",
            step=120,
            epoch=3,
            elapsed_s=12.34,
            scalars={
                "validation/hit_rate@1": 0.91234,
                "validation/map@r": 1.0,
                "validation/tar@far=1e-3": math.nan,
                "validation/queries_without_relevant": 2.0,
                "other/tiny": 1.25e-7,
                "validation/large": 123456789.0,
            },
            timings={"validation/time/load_s": 0.5, "validation/samples_per_s": 1234.5},
        ),
    )
    assert text == (
        "validation  epoch 3  step 120  12.3 s  1,234 samples/s\n"
        "  hit_rate@1                  0.9123   other/tiny                1.25e-07\n"
        "  map@r                            1   large                    1.235e+08\n"
        "  tar@far=1e-3                   nan   train/loss                  0.1250\n"
        "  queries_without_relevant         2\n"
    )


def test_a_failed_evaluation_is_one_line() -> None:
    record = Record(runner="validation", step=3, scalars={}, error="ValueError: two\n lines")
    assert printed(record) == "validation  step 3  failed: ValueError: two lines\n"


@pytest.mark.parametrize(
    ("elapsed_s", "text"),
    [(0.0, "0.0 s"), (59.94, "59.9 s"), (60.0, "1:00 min"), (3599.6, "1:00:00 h")],
)
def test_seconds_are_shown_as_people_read_them(elapsed_s: float, text: str) -> None:
    assert printed(Record(runner="v", elapsed_s=elapsed_s, scalars={})) == f"v  {text}\n"


def test_scalars_of_the_training_are_not_printed_as_they_come() -> None:
    assert printed(Record(scalars={"train/loss": 0.5})) == ""


def test_a_name_that_the_terminal_cannot_show_is_replaced() -> None:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding="ascii")
    Terminal(file).write(Record(runner="v", scalars={"größe": 1.0}))
    file.flush()
    assert raw.getvalue() == b"v\n  gr??e 1\n"


def test_it_prints_to_what_standard_output_is_now(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal().write(Record(runner="v", scalars={}))
    assert capsys.readouterr().out == "v\n"


def test_a_progress_bar_stays_whole(capsys: pytest.CaptureFixture[str]) -> None:
    with tqdm(total=2, ascii=True, ncols=40) as bar:
        bar.update()
        Terminal().write(Record(runner="v", scalars={"a": 1.0}))
        bar.update()
    output = capsys.readouterr()
    assert output.out.splitlines()[-2:] == ["v", "  a 1"]
    assert "2/2" in output.err
