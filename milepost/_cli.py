"""The command line: `milepost COMMAND ...`.

A command first prepares: whatever a configuration can have wrong shows then, as one line and exit
code 2. Then it runs, and an error is an error of the training, with its traceback.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from milepost import errors

_OVERRIDES = """
Any key of the configuration can be set after it: `--epochs 3`, `--model.dimension=32`,
`--runners.validation.every "500 steps"`. Classes are looked up in the current folder too.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0, or 2 for a configuration that is wrong."""
    parser = _parser()
    options, rest = parser.parse_known_args(argv)
    if rest and "config" not in options:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    sys.path.insert(0, str(Path.cwd()))  # as `python -m` does, for the user's own classes
    try:
        run = _prepare(options, rest)
    except (errors.MilepostError, ImportError, OSError, TypeError, ValueError) as error:
        if options.debug:
            raise
        print(f"milepost {options.command}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return run() if options.command == "run" else _printed(run)


def _printed(run: Callable[[], int]) -> int:
    """Return the exit code of a command that prints; 1 if nobody reads on, as with `| head`."""
    try:
        code = run()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at the exit
        return 1
    return code


def _prepare(options: argparse.Namespace, overrides: Sequence[str]) -> Callable[[], int]:
    from milepost import _commands as commands  # loads the parser

    if options.command == "compare":
        return commands.prepare_compare(
            *options.runs,
            runner=options.runner,
            metrics=options.metric,
            step=options.step,
            over=options.over,
            as_json=options.json,
        )
    if options.command == "list":
        return commands.prepare_list()
    if options.command == "report":
        return commands.prepare_report(options.rundir, options.output, live=options.live)
    config = options.config
    if options.command == "eval":
        return commands.prepare_eval(
            config,
            overrides,
            checkpoint=options.checkpoint,
            rundir=options.rundir,
            as_json=options.json,
        )
    if options.print_config:
        return commands.prepare_print(config, overrides)
    return commands.prepare_run(config, overrides)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("milepost", description="Examine a model as it is trained.")
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, purpose: str, epilog: str | None = None) -> argparse.ArgumentParser:
        command = commands.add_parser(
            name, help=purpose, description=purpose, epilog=epilog, allow_abbrev=False
        )
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
        if epilog:
            command.add_argument("config", metavar="CONFIG", type=Path, help="a recipe, in YAML")
        return command

    run = add("run", "train the recipe's model with its runners attached", _OVERRIDES)
    run.add_argument("--print_config", action="store_true", help="print the recipe and exit")
    evaluation = add("eval", "examine a checkpoint with the recipe's runners, once", _OVERRIDES)
    evaluation.add_argument("--checkpoint", metavar="FILE", type=Path, required=True)
    folder = "a new folder for metrics and evidence"
    evaluation.add_argument("--rundir", metavar="DIR", type=Path, help=folder)
    evaluation.add_argument("--json", action="store_true", help="print the metrics as JSON")
    _add_compare(add("compare", "compare two evaluations, query by query"))
    report = add("report", "write one page that shows a run")
    report.add_argument("rundir", metavar="RUNDIR", type=Path, help="the folder of a run")
    page = "the page; by default report.html in the folder"
    report.add_argument("--output", metavar="FILE", type=Path, help=page)
    live = "write it anew whenever the run's files change, until interrupted"
    report.add_argument("--live", action="store_true", help=live)
    add("list", "name inferencers, monitors and trainers, plug-ins included")
    return parser


def _add_compare(command: argparse.ArgumentParser) -> None:
    command.add_argument("runs", metavar="RUN", nargs=2, type=Path, help="the folders of two runs")
    command.add_argument("--runner", metavar="NAME", help="by default all that both runs have")
    metric = "one to compare, by default all; may be given again"
    command.add_argument("--metric", metavar="NAME", action="append", default=[], help=metric)
    command.add_argument("--step", metavar="N", type=int, help="by default the last of each run")
    over = "what is independent: by default what the evaluations drew, or else queries"
    command.add_argument("--over", choices=("query", "class", "group"), help=over)
    command.add_argument("--json", action="store_true", help="print JSON")


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from milepost import __version__

        parser.exit(message=f"milepost {__version__}\n")
