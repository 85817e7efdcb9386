"""What thinking takes on a GPU, measured: prompts read, tokens written, and whole plans of V1 and V2, on one card.

Models are the published Qwen3 shapes with random weights, so nothing is downloaded; prompts are random tokens. Each row
is a shape with its raw samples: seconds between CUDA events, MFU (useful operations, counted causally, over what the
card could do at its dense peak in that time), MBU (bytes that had to be moved over what the memory could), most memory,
energy of a window of two seconds or more, clocks as the driver told them. Nothing of the card is set. Plans are those
of ``gpu_plans.json``, replayed with their shared prefixes and stages, in turn A B A B. Writing is measured as steps
that the host launches and as recorded CUDA graphs, which are rows of their own. Rows of type fp8 have their linear
layers' products in 8 bits, cut by plain tensor operations; attention and the output head stay in 16.

The script keeps its own time: shapes are in the order of their importance, and one that the rest of ``--seconds`` does
not suffice for is dropped and named. What does not fit in memory is left out and named. Results are written after each
model, whole. It needs torch, transformers, numpy, scipy and numba; energy and clocks need nvidia-ml-py besides. Without
a CUDA device it ends with exit code 2; with 1 if something failed otherwise than for lack of memory or time. Run from
the repository's root:

    python benchmarks/gpu_inference.py
"""

import argparse
import json
import os
import platform
import sys
import textwrap
import time
from pathlib import Path

# This folder is first on the path of a script, and its simulator.py would hide the package of that name.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from collections.abc import Callable, Sequence
from typing import Any, Final

import torch

from benchmarks._files import write_whole
from policies.language.gpu.campaign import CUTS, Campaign, Group, Measured, Piece, PlanPiece, StepPiece
from policies.language.gpu.cards import Card, CudaCard
from policies.language.gpu.engine import Engine
from policies.language.gpu.fitted import fit_as_dict
from policies.language.gpu.fp8 import use_fp8
from policies.language.gpu.presets import SOURCE, preset_model
from policies.language.gpu.rounds import WINDOW
from policies.language.gpu.works import Writing
from policies.language.steps import StepShape
from simulator.serving.transformer import MODEL_SHAPES
from simulator.serving.workload import CallShape, JobShape

ROOT: Final = Path(__file__).resolve().parent.parent
SCHEMA: Final = 1
SEED: Final = 20_250
SECONDS: Final = 440.0
ROUNDS: Final = 5
PLAN_ROUNDS: Final = 3
MAIN: Final = "qwen3-8b"
FULL: Final = 21_349
"""Tokens of a user's history in full text, as the RecGPT-V2 report states them."""
COMPRESSED: Final = 5_158
"""The same with each item as one soft token."""
Plans = dict[str, list[tuple[str, JobShape, bool]]]


def read_plans(file: Path = ROOT / "benchmarks" / "gpu_plans.json") -> Plans:
    """Rows of each plan: name, calls of a refresh, whether what they share is read once."""
    raw = json.loads(file.read_text(encoding="utf-8"))["plans"]
    return {
        name: [
            (row, JobShape(tuple(tuple(CallShape(o, w, s) for s, o, w in stage) for stage in each["stages"])), shares)
            for row, each in rows.items()
            for shares in (bool(each["shares_prefix"]),)
        ]
        for name, rows in raw.items()
    }


def reads(plans: Plans, whole: bool) -> list[StepShape]:
    """Prompts of the report's lengths and of the world's own, and what is read behind a prefix."""
    call = plans["world"][0][1].calls[0]
    own = call.shared + call.own
    found = [StepShape(FULL, 0, 1), *(StepShape(COMPRESSED, 0, batch) for batch in (1, 4))]
    found += [StepShape(own, 0, batch) for batch in (1, 64)]
    if whole:
        found += [StepShape(own, 0, 16), StepShape(call.own, call.shared, 64), StepShape(200, FULL, 4)]
    return found


def writes(plans: Plans, whole: bool) -> list[StepShape]:
    """One token behind the report's contexts and the world's own."""
    call = plans["world"][0][1].calls[0]
    rows = (1, 8, 16) if whole else (1, 16)
    found = [StepShape(1, past, batch) for past in (COMPRESSED, FULL) for batch in rows]
    return found + [StepShape(1, call.shared + call.own, batch) for batch in ((1, 64) if whole else (64,))]


def steps(shapes: Sequence[StepShape], writing: Writing = "graph") -> tuple[Piece, ...]:
    """Shapes as pieces."""
    return tuple(StepPiece(shape, None if shape.phase == "prefill" else writing) for shape in shapes)


def replays(plans: Plans, writing: Writing, plan: str, refreshes: int) -> Piece:
    """Plans of all rows in turn."""
    return PlanPiece(plan, tuple(plans[plan]), refreshes, writing)


def table(card: Card, plans: Plans, models: Sequence[str]) -> list[Group]:
    """What is measured, the most important first.

    The main model has the plans and most shapes; then come the other models' steps, the main model in 8 bits, and last
    what takes longest: many long prompts at once, plans of several refreshes, plans whose steps the host launches.
    """
    main = MAIN if MAIN in models else models[0]
    both = reads(plans, whole=True), writes(plans, whole=True)
    launched = [shape for shape in both[1] if shape.batch in (1, 64)]

    def group(name: str, pieces: tuple[Piece, ...], eight: bool = False, energy: bool = True) -> Group:
        load = _loader(card, name, eight)
        return Group(name, MODEL_SHAPES[name], "fp8" if eight else "bf16", load, pieces, energy)

    plans_first = (replays(plans, "graph", "paper", 1), replays(plans, "graph", "world", 16))
    groups = [group(main, plans_first + steps(both[0]) + steps(both[1]) + steps(launched, "eager"))]
    short = steps(reads(plans, whole=False)) + steps(writes(plans, whole=False))
    groups += [group(name, short, energy=False) for name in models if name != main]
    if card.sheet is None or card.sheet.fp8_flops is not None:
        groups.append(group(main, short, eight=True))
    dear = (
        *steps([StepShape(FULL, 0, 4)]),
        replays(plans, "graph", "paper", 4),
        replays(plans, "eager", "world", 16),
        replays(plans, "eager", "paper", 1),
    )
    return [*groups, group(main, dear)]


def _loader(card: Card, name: str, eight: bool) -> Callable[[], Engine]:
    def load() -> Engine:
        model = preset_model(name, card.device, torch.bfloat16, SEED)
        if eight:
            use_fp8(model)
        return Engine(model, card, SEED)

    return load


def results(card: Card, found: Measured, seconds: float, complete: bool) -> dict[str, Any]:
    """What the file holds."""
    return {
        "schema": SCHEMA,
        "name": "gpu_inference",
        "complete": complete,
        "device": card.describe(),
        "machine": {"cpus": os.cpu_count(), "platform": platform.platform()},
        "settings": {
            "seed": SEED,
            "seconds": seconds,
            "rounds": ROUNDS,
            "plan_rounds": PLAN_ROUNDS,
            "energy_window_seconds": WINDOW,
            "read_tokens": CUTS.read_tokens,
            "write_rows": CUTS.write_rows,
            "weights": "random",
            "shapes": SOURCE,
        },
        "seconds": found.seconds,
        "dropped": found.dropped,
        "failed": found.failed,
        "fit": fit_as_dict(found.rows, card.sheet),
        "rows": found.as_dicts(card.sheet),
    }


def printed(data: dict[str, Any]) -> list[str]:
    """The short table, for a terminal of 100 columns."""
    device = data["device"]
    lines = [f"{device['name']}, driver {device['driver']}, torch {device['torch']}, {data['seconds']:.0f} s"]
    lines.append("")
    lines.append(f"{'plan, refreshes side by side':<48}{'GPU-s/refresh':>14}{'MFU':>8}{'MBU dec.':>10}{'J':>9}")
    for row in data["rows"]:
        if row["kind"] == "plan" and row["gpu_seconds"]:
            name = f"{row['model']} {row['plan']} {row['row']}, {row['refreshes_side_by_side']}, {row['writing']}"
            lines.append(
                f"{name[:47]:<48}{row['gpu_seconds']['median']:>14.4f}{_share(row['mfu_busy']):>8}"
                f"{_share(row['mbu_decode']):>10}{_number(row['joules']):>9}"
            )
    lines.append("")
    lines.append(f"{'step':<48}{'ms':>10}{'tokens/s':>12}{'MFU':>8}{'MBU':>8}{'J':>9}")
    for row in data["rows"]:
        if row["kind"] == "step" and row["gpu_seconds"]:
            what = f"read {row['new']}" if row["phase"] == "prefill" else f"write {row['writing']}"
            name = f"{row['model']} {row['dtype']} {what} behind {row['past']}, x{row['batch']}"
            lines.append(
                f"{name[:47]:<48}{1e3 * row['gpu_seconds']['median']:>10.2f}{row['tokens_per_second']:>12,.0f}"
                f"{_share(row['mfu']):>8}{_share(row['mbu']):>8}{_number(row['joules']):>9}"
            )
    lines.append("")
    for row in data["rows"]:
        if row["why_not"] and row["why_not"] != "the time did not suffice":
            what = row["plan"] if row["kind"] == "plan" else f"{row['new']} behind {row['past']}, x{row['batch']}"
            lines.append(f"left out: {row['model']} {row['dtype']} {what}: {row['why_not']}"[:100])
    lines += [f"dropped for lack of time: {each}"[:100] for each in data["dropped"]]
    return [*lines, *_fit_lines(data["fit"])]


def _fit_lines(fit: dict[str, Any]) -> list[str]:
    if fit["coefficients"] is None:
        return textwrap.wrap(f"no step times are fitted: {fit['why_not']}", 100)
    told = {key: f"{value:.6g}" for key, value in fit["coefficients"].items() if key != "form"}
    lines = [
        f"step times fitted, median error {100 * fit['held_out_median_error']:.1f}% on {fit['held_out_steps']} of "
        f"{len(fit['steps'])} steps held out; for a timing's config:",
        f"  step_time:\n    {fit['card']}:\n      form: {fit['coefficients']['form']}",
    ]
    return "\n".join([*lines, *(f"      {key}: {value}" for key, value in told.items())]).splitlines()


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}%"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write, print."""
    begun = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = ROOT / "benchmarks" / "results" / "gpu_inference.json"
    parser.add_argument("--json", type=Path, metavar="FILE", default=default, help="where to write the rows")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="how long all may take (default: %(default)g)")
    parser.add_argument("--models", nargs="+", choices=list(MODEL_SHAPES), default=list(MODEL_SHAPES), metavar="NAME")
    options = parser.parse_args(arguments)
    try:
        card = CudaCard()
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return measure(card, options.json, options.seconds, options.models, begun)


def measure(card: Card, file: Path, seconds: float, models: Sequence[str], begun: float) -> int:
    """Measure on a card; the exit code."""

    def tell(line: str) -> None:
        print(f"{time.monotonic() - begun:6.1f} s  {line}", file=sys.stderr, flush=True)

    left = seconds - (time.monotonic() - begun)
    campaign = Campaign(card, left, ROUNDS, PLAN_ROUNDS, time.monotonic, window=WINDOW, cuts=CUTS, tell=tell)

    def keep(so_far: Measured) -> None:
        write_whole(file, results(card, so_far, seconds, complete=False))

    found = campaign.run(table(card, read_plans(), models), keep)
    data = results(card, found, seconds, complete=True)
    write_whole(file, data)
    print("\n".join(printed(data)))
    for line in found.failed:
        print(f"failed: {line}", file=sys.stderr)
    return 1 if found.failed else 0


if __name__ == "__main__":
    sys.exit(main())
