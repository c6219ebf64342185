"""How the metrics went, over steps."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from milepost._report._figure import as_svg, drawn, light, new_axes, plain
from milepost._report._page import fill
from milepost._report._run_files import Evaluation, RunFiles
from milepost._report._section import Section


def curves(run: RunFiles) -> Section | None:
    """Return a panel for each metric of each runner."""
    runners = {
        runner: [
            (as_svg(draw_curve(each, name), name, f"{name} by step"), name)
            for name in each[-1].metrics
        ]
        for runner, each in run.evaluations.items()
    }
    if not runners:
        return None
    return Section("curves", "Curves", fill("curves.html", runners=runners))


@drawn
def draw_curve(evaluations: Sequence[Evaluation], name: str) -> Figure:
    """Draw a metric over steps."""
    figure, axes = new_axes()
    steps = [each.step for each in evaluations]
    axes.plot(steps, [each.metrics[name] for each in evaluations], color=light("blue"), marker="o")
    axes.set_xlabel("step")
    axes.set_title(plain(name))
    return figure
