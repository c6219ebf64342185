"""Records in a run of MLflow."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, final

from milepost.callbacks._record import Array, Record
from milepost.callbacks.monitors._bins import binned
from milepost.callbacks.monitors._images import as_image
from milepost.callbacks.monitors._monitor import Monitor
from milepost.callbacks.monitors._names import Names
from milepost.callbacks.monitors._parquet_tables import ParquetTables
from milepost.errors import missing_extra

_METRICS, _PARAMS = 1000, 100  # that MLflow takes at once
_LONGEST_VALUE = 500  # characters of a parameter or tag that every version takes


@final
class MLflow(Monitor):
    """Writes to a run of MLflow: scalars, timings, errors, pictures, histograms, tables.

    A run that is active is used, and left open; else one is started, and ended at the end, as
    failed if an error ended the training. Where runs are kept is MLflow's to say, by
    `mlflow.set_tracking_uri` or `MLFLOW_TRACKING_URI`. A record without a step takes its own
    number.

    MLflow's names hold letters, digits, `_`, `-`, `.`, `/` and spaces. `@` becomes `_at_`, so that
    `hit_rate@1` is `hit_rate_at_1` there, and anything else `_`. The artifact
    `milepost/names.json` says what each such name was.

    Histograms are artifacts `histograms/<name>/<step>.csv`, errors `errors/<runner>/<step>.txt`
    and, the latest, a tag. Tables are artifacts `tables/...`, whole, as `ParquetTables` writes
    them: `milepost compare` reads the folder of artifacts that was downloaded.

    Args:
        experiment: of a run that is started; made if it is not there. None leaves it to MLflow.
        run_name: of a run that is started.
        run_id: of a run to go on with.
        config: parameters of the run, nested; goes before the recipe's of `milepost run`.
    """

    takes_tables = True
    takes_pictures = True

    def __init__(
        self,
        experiment: str | None = None,
        *,
        run_name: str | None = None,
        run_id: str | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        self._experiment = experiment
        self._run_name = run_name
        self._run_id = self._asked_id = run_id
        self._config = dict(config or {})
        self._names = Names(
            "MLflow",
            refused=r"[^A-Za-z0-9_./ -]",
            filler="_",
            special={"@": "_at_"},
            longest=150,
        )
        self._translated = 0
        self._client: Any = None
        self._is_own = False
        self._status = "FINISHED"
        self._records = 0

    def describe(self, config: Mapping[str, Any]) -> None:
        """Add to the parameters what they do not say yet."""
        self._config = {**config, **self._config}

    def open(self) -> None:
        """Start a run, or take the one that is active.

        Raises:
            ImportError: mlflow is not installed.
            ValueError: another run is active than the one that is asked for.
        """
        self._opened()

    def write(self, record: Record) -> None:
        """Log what the record holds."""
        client = self._opened()
        from mlflow.entities import Metric

        step = self._records if record.step is None else record.step
        self._records += 1
        time_ms = int(record.time * 1000)
        scalars = {**record.scalars, **record.timings}
        metrics = [Metric(self._names.of(x), float(y), time_ms, step) for x, y in scalars.items()]
        for some in _pieces(metrics, _METRICS):
            client.log_batch(self._run_id, metrics=some)
        if record.error is not None:
            self._write_error(record.runner or "train", record.error, step)
        for name, picture in record.pictures.items():
            image, key = as_image(picture), self._names.of(name)
            client.log_image(self._run_id, image, key=key, step=step, timestamp=time_ms)
        for name, values in record.histograms.items():
            path = f"histograms/{self._names.of(name)}/{step:08}.csv"
            client.log_text(self._run_id, _histogram(values), path)
        if record.tables:
            with tempfile.TemporaryDirectory() as folder:
                ParquetTables(Path(folder, "tables")).write(record)
                client.log_artifacts(self._run_id, folder)
        self._write_names()

    def flush(self) -> None:
        """Wait for what MLflow logs in the background, if it was told to."""
        if self._client is not None:
            import mlflow

            mlflow.flush_async_logging()

    def on_exception(self, error: BaseException) -> None:
        """Note that the run has failed."""
        self._status = "FAILED" if isinstance(error, Exception) else "KILLED"

    def close(self) -> None:
        """End the run, if it was started here."""
        if self._client is None:
            return
        import mlflow

        self.flush()
        client, self._client = self._client, None
        active = mlflow.active_run()
        if not self._is_own:
            return
        if active is not None and active.info.run_id == self._run_id:
            mlflow.end_run(self._status)
        else:
            client.set_terminated(self._run_id, self._status)

    def _opened(self) -> Any:
        if self._client is None:
            try:
                import mlflow
                from mlflow import MlflowClient
            except ImportError as error:
                raise missing_extra("mlflow", "mlflow") from error
            active = mlflow.active_run()
            if active is not None and self._asked_id not in (None, active.info.run_id):
                msg = (
                    f"`run_id` must be that of the active run, got {self._asked_id!r}; end that run"
                )
                raise ValueError(msg)
            self._is_own, self._status = active is None, "FINISHED"
            run = self._start(mlflow) if active is None else active
            self._run_id = run.info.run_id
            self._client, self._translated = MlflowClient(), 0
            self._write_config(run.data.params)
        return self._client

    def _start(self, mlflow: Any) -> Any:
        """Start a run, or go on with the one that there was."""
        if self._run_id is not None:
            return mlflow.start_run(run_id=self._run_id)
        experiment_id = None
        if self._experiment is not None:
            found = mlflow.get_experiment_by_name(self._experiment)
            experiment_id = (
                mlflow.create_experiment(self._experiment) if found is None else found.experiment_id
            )
        return mlflow.start_run(experiment_id=experiment_id, run_name=self._run_name)

    def _write_config(self, there: Mapping[str, str]) -> None:
        """Log the parameters that are not there; MLflow refuses another value of one that is."""
        from mlflow.entities import Param

        values = {self._names.of(name): x[:_LONGEST_VALUE] for name, x in _leaves(self._config, "")}
        params = [Param(name, value) for name, value in values.items() if name not in there]
        for some in _pieces(params, _PARAMS):
            self._client.log_batch(self._run_id, params=some)

    def _write_error(self, runner: str, error: str, step: int) -> None:
        name = self._names.of(f"{runner}/error")
        text = error.encode("utf-8", "replace").decode()
        path = f"errors/{self._names.of(runner)}/{step:08}.txt"
        self._client.log_text(self._run_id, text, path)
        self._client.set_tag(self._run_id, name, f"step {step}: {text}"[:_LONGEST_VALUE])

    def _write_names(self) -> None:
        """Write what the names were, if there are more of them."""
        translated = self._names.translated
        if len(translated) > self._translated:
            self._translated = len(translated)
            self._client.log_dict(self._run_id, translated, "milepost/names.json")

    def __repr__(self) -> str:
        return f"MLflow({'' if self._experiment is None else repr(self._experiment)})"


def _pieces(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _leaves(config: Any, path: str) -> Iterator[tuple[str, str]]:
    """Give each value of nested mappings and lists, as a text, with its dotted path."""
    if isinstance(config, Mapping):
        pairs = [(str(key), value) for key, value in config.items()]
    elif isinstance(config, list | tuple):
        pairs = [(str(place), value) for place, value in enumerate(config)]
    else:
        yield path, str(config)
        return
    for key, value in pairs:
        yield from _leaves(value, f"{path}.{key}" if path else key)


def _histogram(values: Array) -> str:
    counts, edges = binned(values)
    rows = zip(edges, edges[1:], counts, strict=False)
    return "low,high,count\n" + "".join(f"{low},{high},{count}\n" for low, high, count in rows)
