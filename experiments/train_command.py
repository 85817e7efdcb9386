"""``testbed train``: its arguments and its words. What training is, ``experiments.training`` knows."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from experiments.progress import progress_for
from experiments.speaking import speaking_plainly

if TYPE_CHECKING:
    from experiments.training_config import TrainingConfig
    from policies.training.school import Report

RECIPE: Final = Path(__file__).parent / "configs" / "train_tiny.yaml"

train_app = typer.Typer(help="Train the language models that policies can think with.", no_args_is_help=True)


@train_app.command(
    epilog="[bold]Examples[/bold]\n\n"
    "testbed train language --out models/mine --minutes 25\n\n"
    "testbed train language experiments/configs/train_tiny.yaml --out models/mine --set school.sft.steps=500"
)
def language(
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder for the model; made whole when all is done.")
    ],
    config: Annotated[
        Path | None,
        typer.Argument(metavar="[CONFIG]", help="A YAML file of kind training; train_tiny.yaml if left out."),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            "--minutes", metavar="N", min=0.05, help="End the training after N minutes; then not repeatable to the bit."
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override one key, as in school.sft.steps=500; repeatable."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress, only the outcome.")] = False,
) -> None:
    """Train a tiny language model of a shop from nothing: worlds, lessons, tokenizer, model, adaptor, model card.

    Put the folder's path under language.model in a policy's parameters to use it.
    """
    with speaking_plainly():
        from experiments.training import train_language

        checked = _checked(config, overrides, out)
        command = shlex.join(["testbed", *sys.argv[1:]])
        progress = progress_for(Console(stderr=True), quiet=quiet)
        report = train_language(checked, out, minutes, command, progress)
        _print(report, out)


@train_app.command(
    epilog="[bold]Example[/bold]\n\ntestbed train adaptor --model models/qwen3-0.6b --out models/qwen3-0.6b-adapted"
)
def adaptor(
    model: Annotated[Path, typer.Option("--model", metavar="DIR", help="Folder of any causal language model.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the model with its adaptor.")],
    config: Annotated[
        Path | None,
        typer.Argument(metavar="[CONFIG]", help="A YAML file of kind training; train_tiny.yaml if left out."),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override one key, as in school.adaptor.lessons=200."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress, only the outcome.")] = False,
) -> None:
    """Give a language model an adaptor, so that it reads items as one soft token each; its weights do not move."""
    with speaking_plainly():
        from experiments.training import train_adaptor_for
        from policies.language.model import LanguageSettings, find_folder

        checked = _checked(config, overrides, out)
        start = find_folder(LanguageSettings(model=str(model)))
        progress = progress_for(Console(stderr=True), quiet=quiet)
        _print(train_adaptor_for(checked, start, out, progress), out)


def _checked(config: Path | None, overrides: list[str] | None, out: Path) -> "TrainingConfig":
    """The recipe, if ``out`` can be written."""
    from experiments.errors import UserError
    from experiments.loading import load_config
    from experiments.training_config import TrainingConfig

    checked = load_config(config or RECIPE, overrides or ())
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / "adaptor.safetensors").is_file())):
        raise UserError(f"--out: {out} holds something other than a trained model; name a new folder")
    if not isinstance(checked, TrainingConfig):
        raise UserError(f"{config}: its kind is {checked.kind}; a training needs kind: training")
    return checked


def _print(report: "Report", out: Path) -> None:
    console = Console()
    if report.language.steps:
        console.print(
            f"{report.language.steps} steps, {report.language.tokens:,} tokens, {report.language.seconds:.0f} s; "
            f"loss {report.language.loss[0]:.2f} -> {report.language.loss[-1]:.2f}",
            highlight=False,
        )
    if report.full is not None and report.hybrid is not None:
        table = Table("next category of held-out shoppers", "HR@10", "HR@30", "prompt tokens")
        for name, values, tokens in (
            ("history in full text", report.full.model, report.full.prompt_tokens),
            ("history in soft tokens", report.hybrid.model, report.hybrid.prompt_tokens),
            ("popularity", report.full.popularity, None),
            ("popularity in the city, last two days", report.full.by_day, None),
        ):
            table.add_row(name, *(f"{value:.3f}" for value in values), "" if tokens is None else f"{tokens:.0f}")
        console.print(table)
    console.print(f"model: {out}", highlight=False)
