"""Going on with a run that was killed: what of it was kept, and whether this would still be the same run.

The plan of a run lies beside its pieces. It says for how many workers users were cut, and what the outcome depends on:
config, code, packages, data, foreign policies. Pieces of another config or another code would end in bytes that no
single run ends in, so going on is refused unless all of it is as it was.
"""

import hashlib
import inspect
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from experiments.config import ExperimentConfig, config_hash
from experiments.errors import UserError
from experiments.guests import is_foreign
from experiments.pieces import SHARE, Piece
from experiments.progress import Progress
from experiments.provenance import code_version, package_versions
from experiments.run_directory import CONFIG, PARTS, RunDirectory
from experiments.world_config import LogWorld, TraceTraffic
from policies.registry import policy_class

_PLAN: Final = f"{PARTS}/plan.json"


@dataclass(frozen=True)
class Attempt:
    """One attempt at a run: the first, or one that goes on.

    Attributes:
        directory: of the run.
        workers: those of the first attempt; users stay cut as they were for them.
        resumed: how often the run was taken up again, this time included.
        share: of the time of play that keeping it may take.
    """

    directory: RunDirectory
    workers: int
    resumed: int
    share: float

    def piece(self, stage: str, number: int) -> Piece:
        """Where shard ``number`` of a stage (``history``, ``warmup``, or the name of what an arm plays) is kept."""
        return Piece(self.directory.path / PARTS / f"{stage}.{number}.npz", self.share)


def begin_or_go_on(directory: RunDirectory, config: ExperimentConfig, workers: int, share: float = SHARE) -> Attempt:
    """Write a new run's plan, or read and check that of an interrupted one.

    Args:
        directory: of the run.
        config: of the run.
        workers: of a new run.
        share: of the time of play that keeping it may take.

    Raises:
        UserError: pieces are there, and the config, the code, a package, the data or a foreign policy is another than
            when they were kept; or the plan is damaged, or cannot be written.
    """
    plan: dict[str, Any] = {"workers": workers, "resumed": 0, "made_of": _made_of(config)}
    if directory.interrupted:
        plan = _read(directory)
        _check(directory, plan["made_of"], _made_of(config))
        plan |= {"resumed": plan["resumed"] + 1}
    directory.write_json(_PLAN, plan)
    return Attempt(directory, plan["workers"], plan["resumed"], share)


def run_to_resume(path: Path, given: Sequence[str]) -> Path:
    """The config of the run in a folder.

    Args:
        path: the folder.
        given: options that were given beside it and say what a new run would be.

    Raises:
        UserError: the folder holds no run, or such options were given.
    """
    if given:
        raise UserError(f"{given[0]}: not with --resume, which goes on with {path} as it was begun; leave one out")
    if not (path / CONFIG).is_file():
        raise UserError(f"{path}: not a run directory; give a folder that `testbed run` has written")
    return path / CONFIG


def days_found(pieces: Sequence[Piece | None], start: int, stage: Progress) -> list[int]:
    """Days of each piece that were played before; ``stage`` is told of them.

    Args:
        pieces: those of a stage, None where nothing is kept.
        start: first day of the stage.
        stage: of their days.

    Raises:
        UserError: a piece is damaged.
    """
    days = [None if piece is None else piece.days_kept()[1] for piece in pieces]
    found = [0 if day is None else day - start for day in days]
    if any(found):
        stage.found(sum(found))
    return found


def standing(directory: RunDirectory) -> str:
    """How far an interrupted run is, in words.

    Raises:
        UserError: a piece is damaged.
    """
    finished = under_way = 0
    for file in sorted((directory.path / PARTS).glob("*.npz")):
        if file.suffixes[-2:] != [".previous", ".npz"]:
            done, _ = Piece(file).days_kept()
            finished, under_way = finished + done, under_way + (not done)
    return f"{finished} {'piece' if finished == 1 else 'pieces'} finished, {under_way} under way"


def _made_of(config: ExperimentConfig) -> dict[str, Any]:
    """What a run's bytes depend on, by what it is called in messages."""
    return {
        "config": config_hash(config),
        "code": code_version(),
        **{f"package {name}": version for name, version in package_versions().items()},
        **{f"policy {name}": digest for name, digest in _foreign_policies(config).items()},
        **{f"data {path}": _digest(path) for path in _data_files(config)},
    }


def _data_files(config: ExperimentConfig) -> list[Path]:
    return [part.path for part in (config.world, config.traffic) if isinstance(part, LogWorld | TraceTraffic)]


def _foreign_policies(config: ExperimentConfig) -> dict[str, str]:
    """Digests of the modules of policies that are not of this project."""
    names = dict.fromkeys(arm.policy for arm in config.arms.values())
    classes = {name: policy_class(name) for name in names}
    foreign = {name: c for name, c in classes.items() if is_foreign(c)}
    return {name: _digest(Path(inspect.getfile(c))) for name, c in foreign.items()}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(directory: RunDirectory) -> dict[str, Any]:
    path = directory.path / _PLAN
    try:
        plan = json.loads(path.read_text(encoding="utf-8"))
        return {"workers": int(plan["workers"]), "resumed": int(plan["resumed"]), "made_of": dict(plan["made_of"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: missing or damaged, so nobody can tell what the pieces belong to; begin anew with --force"
        ) from error


def _check(directory: RunDirectory, then: dict[str, Any], now: dict[str, Any]) -> None:
    for what in dict.fromkeys([*then, *now]):
        before, here = then.get(what), now.get(what)
        if before != here:
            raise UserError(_refusal(directory.path, what, before, here))


def _refusal(path: Path, what: str, before: Any, here: Any) -> str:
    anew = "or begin anew with --force"
    kind, _, name = what.partition(" ")
    if kind == "config":
        return f"{path / CONFIG}: not the config that the run was begun with; put that back, {anew}"
    if kind == "data":
        return f"{name}: not the file that {path} was begun with; put that back, {anew}"
    if kind == "policy":
        return f"{path}: begun with another code of the policy {name}; go on with that, {anew}"
    thing = f"code {before}, and this is {here}" if kind == "code" else f"{name} {before}, and here is {here}"
    return f"{path}: begun with {thing}; go on with that one, {anew}"
