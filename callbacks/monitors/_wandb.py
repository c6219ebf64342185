"""Records in a run of Weights & Biases."""

from collections.abc import Mapping
from typing import Any, final

from milepost.callbacks._record import Array, Record, Table
from milepost.callbacks.monitors._bins import binned
from milepost.callbacks.monitors._images import as_image, decode_png
from milepost.callbacks.monitors._monitor import Monitor
from milepost.callbacks.monitors._names import Names
from milepost.callbacks.monitors._thinned import thinned
from milepost.errors import missing_extra

_AXES = ("step", "epoch", "elapsed_s")


@final
class WandB(Monitor):
    """Writes to a run of Weights & Biases: scalars, timings, errors, pictures, histograms, tables.

    A run that is active is used, and left open; else one is started, and finished at the end, as
    failed if an error ended the training. Each record is a row of its own, with a second one for
    pictures and tables. Its `step` is the axis of the metrics; W&B's own count only orders the
    rows, so that none is dropped for coming late. `epoch` and `elapsed_s` are axes to choose from.
    A record without a step takes its own number.

    What W&B keeps for itself or what names of files cannot hold becomes `-`: an empty name, an
    underscore in front, a backslash, and each of `: * ? " < > |`.

    Args:
        project: where a run is started; None leaves it to the settings of W&B.
        name: of the run that is started.
        config: what the run is made of; goes before the recipe's of `milepost run`.
        max_rows: of a table; of a larger one rows that are evenly spaced, by whole ids. W&B shows
            no more than 10,000. 0: no tables. The pictures of `Items` are cells of its table.
        init: further arguments of `wandb.init`, such as `{"id": "digits-3", "resume": "allow"}`
            for a training that may be resumed, or `{"mode": "offline"}`.
    """

    takes_pictures = True

    def __init__(
        self,
        project: str | None = None,
        *,
        name: str | None = None,
        config: Mapping[str, Any] | None = None,
        max_rows: int = 1000,
        init: Mapping[str, Any] | None = None,
    ) -> None:
        self.takes_tables = max_rows > 0
        self._max_rows = max_rows
        self._config = dict(config or {})
        self._init = {"project": project, "name": name, **(init or {})}
        self._names = Names(
            "Weights & Biases",
            refused=r"^_|[\x00-\x1f\x7f\ud800-\udfff\\:*?\"<>|]",
            filler="-",
            longest=100,  # the artifact of a table may have 128 with the id of the run
        )
        self._run: Any = None
        self._is_own = False
        self._exit_code = 0
        self._defined: set[str] = set()
        self._records = 0

    def describe(self, config: Mapping[str, Any]) -> None:
        """Add to the configuration what it does not say yet."""
        self._config = {**config, **self._config}

    def open(self) -> None:
        """Start a run, or take the one that is active.

        Raises:
            ImportError: wandb is not installed.
        """
        self._opened()

    def write(self, record: Record) -> None:
        """Add a row to the run, and one for pictures and tables."""
        run = self._opened()
        import wandb

        prefix = record.runner or "train"
        values: dict[str, Any] = {**record.scalars, **record.timings}
        values |= {name: _histogram(wandb, x) for name, x in record.histograms.items()}
        if record.error is not None:
            values[f"{prefix}/error"] = record.error
        axes = {axis: x for axis in _AXES if (x := getattr(record, axis)) is not None}
        row = {"_timestamp": record.time, "step": self._records, **axes}
        self._records += 1
        if values:
            run.log(row | {self._key(name): x for name, x in values.items()})
        shown = {name: wandb.Image(as_image(x)) for name, x in record.pictures.items()}
        if self.takes_tables:
            for name, table in record.tables.items():
                shown[f"{prefix}/{name}"] = _table(wandb, thinned(table, self._max_rows))
        if shown:  # if they cannot be shown, the numbers are there
            run.log(row | {self._key(name): x for name, x in shown.items()})

    def on_exception(self, error: BaseException) -> None:
        """Note that the run has failed."""
        self._exit_code = 1

    def close(self) -> None:
        """Finish the run, if it was started here."""
        if self._run is not None:
            run, self._run = self._run, None
            if self._is_own:
                self._init |= {"id": run.id, "resume": "allow"}
                run.finish(exit_code=self._exit_code)

    def _opened(self) -> Any:
        if self._run is None:
            try:
                from wandb import init, run
            except ImportError as error:  # a folder `wandb` without the package is one too
                raise missing_extra("wandb", "wandb") from error
            self._is_own, self._exit_code = run is None, 0
            self._run = run or init(**self._init)
            self._run.config.update(self._config, allow_val_change=True)
            self._defined = set()
            for axis in _AXES:
                self._run.define_metric(axis, hidden=True)
        return self._run

    def _key(self, name: str) -> str:
        """Return the name in W&B, over the axis of the steps."""
        key = self._names.of(name)
        if key not in self._defined:
            self._defined.add(key)
            self._run.define_metric(key, step_metric="step")
        return key

    def __repr__(self) -> str:
        project = self._init["project"]
        return f"WandB({'' if project is None else repr(project)})"


def _histogram(wandb: Any, values: Array) -> Any:
    return wandb.Histogram(np_histogram=binned(values))


def _table(wandb: Any, table: Table) -> Any:
    """Return a table of W&B's, without the columns that hold files other than PNG."""
    columns = {_text(name): _cells(wandb, column) for name, column in table.items()}
    shown = {name: x for name, x in columns.items() if not any(isinstance(y, bytes) for y in x)}
    rows = zip(*shown.values(), strict=True)
    return wandb.Table(columns=list(shown), data=[list(row) for row in rows])


def _cells(wandb: Any, column: Array) -> list[Any]:
    cells: list[Any] = column.tolist()
    if column.dtype.kind not in "OU":
        return cells
    if all(isinstance(x, bytes) and x.startswith(b"\x89PNG\r\n\x1a\n") for x in cells):
        return [wandb.Image(decode_png(x)) for x in cells]
    return [x if isinstance(x, bytes) else _text(str(x)) for x in cells]


def _text(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
