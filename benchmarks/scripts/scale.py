"""A plan past one machine: what 8, 64 and 1,024 GPUs ask of cores, network and store.

    python -m fusewarp.benchmarks.scripts.scale                   # all tables, minutes
    python -m fusewarp.benchmarks.scripts.scale --gpus 64 --cores-per-gpu 8 --prefixes 4
    python -m fusewarp.benchmarks.scripts.scale --calibrate       # measured and simulated, here
    python -m fusewarp.benchmarks.scripts.scale --chart docs/scale.png

Every assumption is an option (--help). docs/scale.md says what follows from them.
"""

import argparse
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from . import scale_plan as plan

CHART_GPUS = (8, 32, 128, 512, 1024)
CHART_WAYS = (0, 1, 2, 4)  # of `scale_plan.ways`
COLOURS = ("#8d99ae", "#edae49", "#2b2d42", "#d1495b")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--gpus", type=int, nargs="+", default=plan.GPUS)
    parser.add_argument(
        "--rates", type=float, nargs="+", default=plan.RATES, help="images/s a GPU takes"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--calibrate", action="store_true", help="measure here, and compare the simulation"
    )
    parser.add_argument("--chart", type=Path, help="write a chart of the first of the rates")
    parser.add_argument(
        "--no-simulation", action="store_true", help="arithmetic only, which takes no time"
    )
    for one in fields(plan.Assumptions):
        parser.add_argument(
            f"--{one.name.replace('_', '-')}",
            type=type(one.default),
            default=one.default,
            help=f"{one.metadata['what']} ({one.metadata['origin']})".replace("%", "%%"),
        )
    chosen = parser.parse_args(arguments)
    if min(chosen.gpus) < 1 or min(chosen.rates) <= 0:
        parser.error("--gpus must be 1 or more each, --rates more than 0")
    return chosen


def report(assumed: plan.Assumptions, chosen: argparse.Namespace) -> str:
    """Return all tables in Markdown."""
    gpus, rates = chosen.gpus, chosen.rates
    parts = [
        ("Assumptions", plan.assumption_table(assumed)),
        ("What GPUs that never wait ask for", plan.demand_table(assumed, gpus, rates)),
        (
            "What binds: images/s of each GPU, and of its need",
            plan.limit_table(assumed, gpus, rates),
        ),
    ]
    if not chosen.no_simulation:
        table = plan.simulation_table(assumed, gpus, rates, chosen.seed)
        parts.append(("Simulated", table))
        middle = gpus[len(gpus) // 2]
        disturbed = plan.disturbance_table(assumed, middle, rates[0], chosen.seed)
        parts.append((f"Disturbed: {middle:,} GPUs, {rates[0]:,.0f} images/s each", disturbed))
    parts += [
        ("Order", plan.order_table(assumed, gpus, rates)),
        ("Deaths", plan.failure_table(assumed, gpus)),
    ]
    return "\n\n".join(f"## {title}\n\n{table}" for title, table in parts)


def write_chart(assumed: plan.Assumptions, rate: float, path: Path, seed: int) -> None:
    """Draw the share of time in which GPUs wait over their number, a line for each way."""
    from matplotlib.figure import Figure

    figure = Figure((8, 4.5), layout="constrained")
    axes = figure.subplots()
    for colour, number in zip(COLOURS, CHART_WAYS, strict=True):
        way = plan.ways(assumed)[number]
        shares = [
            100 * plan.simulated(assumed, way, count, rate, seed)["waiting"] for count in CHART_GPUS
        ]
        axes.plot(CHART_GPUS, shares, "o-", color=colour, label=way.name)
    axes.set_xscale("log", base=2)
    axes.set_xticks(CHART_GPUS, [f"{count:,}" for count in CHART_GPUS])
    axes.set(xlabel="GPUs", ylabel="time that GPUs wait for data, %", ylim=(-3, 103))
    axes.set_title(f"{rate:,.0f} images/s a GPU, simulated")
    axes.legend()
    figure.savefig(path, dpi=110)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print what was asked for."""
    chosen = parse(arguments)
    if chosen.calibrate:
        from .scale_calibration import calibrate

        print(calibrate())
        return
    names = [one.name for one in fields(plan.Assumptions)]
    assumed = plan.Assumptions(**{name: getattr(chosen, name) for name in names})
    if chosen.chart:
        write_chart(assumed, chosen.rates[0], chosen.chart, chosen.seed)
        return
    print(report(assumed, chosen))


if __name__ == "__main__":
    main()
