"""Faults of policies that are not of this project, worded for who wrote them.

A policy's answer that cannot be shown, and an error raised in its own code, become a ``PolicyFaultError``. What goes
wrong in policies of this project is a defect of ours and stays as it is. Knows whose code a frame of a traceback is;
does not know what a policy was asked.
"""

import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import simpy

from experiments.errors import PolicyFaultError, UserError
from experiments.provenance import SOURCES
from experiments.switching import Switching
from policies.language.errors import LanguageError
from policies.registry import RegisteredPolicy, registered_name
from simulator.answers import PolicyError
from simulator.datasets.interactions import DatasetError
from simulator.pools import EngineError, WorkerDiedError
from simulator.serving.errors import ServingError

_WORDED: Final = (UserError, DatasetError, EngineError, LanguageError, ServingError, WorkerDiedError)
"""Errors that say by themselves what to do."""

_ROOT: Final = Path(__file__).resolve().parent.parent
Guest = RegisteredPolicy | type[RegisteredPolicy]
"""A policy, or while it is being made its class."""

_NOT_THEIRS: Final = (*(_ROOT / package for package in SOURCES), Path(simpy.__file__).resolve().parent)
_LONGEST: Final = 200


def is_foreign(policy: type[RegisteredPolicy]) -> bool:
    """Whether a class is not of this project."""
    return policy.__module__.partition(".")[0] not in SOURCES


def guests_of(arm: str, policy: RegisteredPolicy) -> dict[str, RegisteredPolicy]:
    """Who plays as an arm, by its key in the config: one policy, or those of all arms where cities change arms."""
    if isinstance(policy, Switching):
        return {f"arms.{name}": each for name, each in policy.arms.items()}
    return {f"arms.{arm}": policy}


@contextmanager
def blaming(guests: Mapping[str, Guest]) -> Iterator[None]:
    """Turn what foreign policies do wrong into a ``PolicyFaultError``.

    Args:
        guests: who is asked meanwhile, by their key in the config, as ``arms.treatment``.

    Raises:
        PolicyFaultError: one of them is foreign, and answered with something that cannot be shown or raised an error.
    """
    try:
        yield
    except Exception as error:
        fault = fault_of(error, guests)
        if fault is None:
            raise
        raise fault from error


def fault_of(error: Exception, guests: Mapping[str, Guest]) -> PolicyFaultError | None:
    """What an error says of a foreign guest; None if it is not a fault of one."""
    if isinstance(error, _WORDED) or isinstance(error.__cause__, KeyboardInterrupt):
        return None
    kinds = {key: _class_of(guest) for key, guest in _blamed(error, guests).items()}
    blamed = {key: kind for key, kind in kinds.items() if is_foreign(kind)}
    if not blamed:
        return None
    who = " or ".join(f"{key}: policy {registered_name(kind)!r}" for key, kind in blamed.items())
    if isinstance(error, PolicyError):
        return PolicyFaultError(f"{who}: {str(error).partition(': ')[2]}")
    classes = [c for kind in blamed.values() for c in kind.__mro__ if issubclass(c, RegisteredPolicy) and is_foreign(c)]
    roots = {c.__module__.partition(".")[0] for c in classes}
    own = [
        f"{frame.f_code.co_filename}, line {line}"
        for frame, line in traceback.walk_tb(error.__traceback__)
        if str(frame.f_globals.get("__name__")).partition(".")[0] in roots
    ]
    if not own:
        signature = isinstance(error, TypeError) and any(str(error).startswith(f"{c.__qualname__}.") for c in classes)
        return PolicyFaultError(f"{who}: {error}; define it as its base does") if signature else None
    first = (str(error).strip().splitlines() or [""])[0]
    said = f"{type(error).__name__}: {first}" if first else type(error).__name__
    return PolicyFaultError(f"{who}: {said[:_LONGEST]} ({own[-1]}); mend it there", _their_frames(error))


def _class_of(guest: Guest) -> type[RegisteredPolicy]:
    return guest if isinstance(guest, type) else type(guest)


def _blamed(error: Exception, guests: Mapping[str, Guest]) -> dict[str, Guest]:
    """The guest that was at work when an error was raised; all of them where nobody can tell."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    for frame in reversed(frames):
        here = [frame.f_locals.get(name) for name in ("self", "policy")]
        for key, guest in guests.items():
            if any(each is guest for each in here):
                return {key: guest}
    return dict(guests)


def _their_frames(error: Exception) -> str:
    """The traceback without frames of this project and of what drives it, causes included."""
    told = traceback.TracebackException.from_exception(error)
    waiting: list[traceback.TracebackException | None] = [told]
    seen: set[int] = set()
    while waiting:
        here = waiting.pop()
        if here is None or id(here) in seen:
            continue
        seen.add(id(here))
        kept = [frame for frame in here.stack if not _is_ours(frame.filename)]
        here.stack = traceback.StackSummary.from_list(kept)
        waiting += [here.__cause__, here.__context__, *(here.exceptions or ())]
    return "".join(told.format()).rstrip()


def _is_ours(filename: str) -> bool:
    return any(Path(filename).resolve().is_relative_to(folder) for folder in _NOT_THEIRS)
