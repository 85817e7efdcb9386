"""How policies are named and found: a decorator, and an entry point that says which module to import for a name.

The policies shipped here are announced in the same way as a plug-in's, so that a config which names one of them does
not pay for importing the libraries of the others.
"""

import difflib
import inspect
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import EntryPoint, entry_points
from typing import Any, ClassVar, Protocol

from policies.delivery import Deliveries
from simulator.batches import Candidates, InteractionLog, ObservedCatalog, ObservedUsers, Requests
from simulator.environment.context import ObservedContext
from simulator.parameters import Parameters
from simulator.snapshots import Arrays

ENTRY_POINTS = "recgpt_testbed.policies"
"""Entry-point group: the name is the policy's, the value the module whose import registers it."""


class UnknownPolicyError(ValueError):
    """No policy of that name is registered."""


class UnusablePolicyError(ValueError):
    """What a plug-in announces as a policy cannot be loaded, or is none; its author can put it right."""


class Listener(Protocol):
    """Hears how far a stage of long work is."""

    def advance(self) -> None:
        """One step is done."""
        ...


Say = Callable[[str, int], AbstractContextManager[Listener]]
"""Opens a stage of long work: its name, its number of steps."""


class _Nobody:
    """Hears nothing."""

    def advance(self) -> None:
        """One step is done."""


def silent(name: str, steps: int) -> AbstractContextManager[Listener]:
    """A stage that nobody hears of."""
    return nullcontext(_Nobody())


class NoParams(Parameters):
    """A policy without parameters."""


class RegisteredPolicy(ABC):
    """Base of policies: holds ``Params``, and does nothing where there is nothing to do.

    Class attributes:
        Params: the model that ``arms.<arm>.params`` is checked against.
        two_channels: True for a policy that offers cognitive candidates beside utility's, with calibrated estimates.
        say: told of long work in ``fit``, as a name and a number of steps; says nothing until somebody listens.
        near_line: True for a policy whose jobs a serving cluster can do; such a policy is a ``NearLine``.
        knows_truth: True for a ceiling that is handed the world's truth; such a policy must define ``bind_truth``.
    """

    Params: ClassVar[type[Parameters]] = NoParams
    two_channels: ClassVar[bool] = False
    near_line: ClassVar[bool] = False
    knows_truth: ClassVar[bool] = False

    def __init__(self, params: Any, seed: int) -> None:
        self.params = params
        self.seed = seed
        self.say: Say = silent

    def fit(  # noqa: B027 - a policy with nothing to learn leaves it as it is
        self, log: InteractionLog, catalog: ObservedCatalog, users: ObservedUsers, context: ObservedContext
    ) -> None:
        """See ``simulator.protocols.Policy``."""

    def begin(self, rows: int) -> None:  # noqa: B027 - likewise
        """See ``simulator.protocols.Policy``."""

    def deliver(self, deliveries: Deliveries | None) -> None:  # noqa: B027 - likewise
        """Before serving starts: when near-line jobs are done; None where they are done the moment they are due."""

    def refresh(self, day: int, context: ObservedContext) -> None:  # noqa: B027 - likewise
        """See ``simulator.protocols.Policy``."""

    @abstractmethod
    def candidates(self, requests: Requests) -> Candidates:
        """See ``simulator.protocols.Policy``."""

    def explanations(self) -> Sequence[str]:
        """Texts by the ids that candidates carry; only ever appended to between one ``begin`` and the next."""
        return ()

    def snapshot(self) -> Arrays | None:
        """See ``simulator.protocols.Policy``: nothing, of a policy that has nothing to forget in ``begin``.

        A subclass that defines ``begin`` defines this and ``restore`` too, or is not asked (``keeps_its_place``).
        """
        return {}

    def restore(self, kept: Arrays) -> None:  # noqa: B027 - likewise
        """See ``simulator.protocols.Policy``."""

    def diary(self) -> dict[str, Any] | None:
        """What it wrote down since ``begin``, as plain values for the report; None if nothing. Never seconds."""
        return None

    def seconds(self) -> dict[str, float]:
        """Wall seconds that its work took since ``begin``, by the role they were spent in."""
        return {}


def keeps_its_place(policy: RegisteredPolicy) -> bool:
    """Whether a policy's ``snapshot`` can be relied on to say all that its ``begin`` would forget.

    It can if the class that defines ``begin`` also defines ``snapshot``, or inherits ``begin`` from one that does. A
    class with a ``begin`` of its own and another's ``snapshot`` may keep more than the snapshot knows of.
    """
    order = type(policy).__mro__
    begins, tells = (next(n for n, c in enumerate(order) if name in vars(c)) for name in ("begin", "snapshot"))
    return tells <= begins


_POLICIES: dict[str, type[RegisteredPolicy]] = {}


def register_policy(name: str) -> Callable[[type[RegisteredPolicy]], type[RegisteredPolicy]]:
    """Class decorator: make the policy available to configs as ``name``.

    Raises:
        ValueError: another class already has the name.
    """

    def register(policy: type[RegisteredPolicy]) -> type[RegisteredPolicy]:
        other = _POLICIES.get(name)
        if other is not None and other is not policy:
            raise ValueError(f"policy {name!r}: already registered by {other.__module__}.{other.__qualname__}")
        _POLICIES[name] = policy
        return policy

    return register


def policy_names() -> list[str]:
    """Names that a config may use, without importing what stands behind them."""
    return sorted(_POLICIES.keys() | {entry_point.name for entry_point in entry_points(group=ENTRY_POINTS)})


def registered_name(policy: type[RegisteredPolicy]) -> str:
    """The name that a class is registered as; that of the class where it is not."""
    return next((name for name, known in _POLICIES.items() if known is policy), policy.__name__)


def policy_class(name: str) -> type[RegisteredPolicy]:
    """The class registered as ``name``; its module is imported now if it was not.

    Raises:
        UnknownPolicyError: there is none; the message lists the known.
        UnusablePolicyError: a plug-in's module cannot be imported, does not register the name that it was announced
            under, or registers something that cannot be made and used without more.
        ImportError: a module of this package does not register the name it was announced under.
    """
    if name not in _POLICIES:
        for entry_point in entry_points(group=ENTRY_POINTS, name=name):
            _load(entry_point)
    if name not in _POLICIES:
        known = policy_names()
        close = difflib.get_close_matches(name, known, n=1)
        like = f"did you mean {close[0]}? " if close else ""
        raise UnknownPolicyError(f"unknown policy {name!r}; {like}known: {', '.join(known)}")
    return _POLICIES[name]


def known_policies() -> dict[str, type[RegisteredPolicy] | UnusablePolicyError]:
    """All policies by name, those of installed plug-ins included; imports them all.

    In place of one that cannot be used stands what is wrong with it.
    """
    found: dict[str, type[RegisteredPolicy] | UnusablePolicyError] = {}
    for name in policy_names():
        try:
            found[name] = policy_class(name)
        except UnusablePolicyError as error:
            found[name] = error
    return found


def _load(entry_point: EntryPoint) -> None:
    """Import what an entry point names, and hold it to its word; the registry stays as it was where it does not."""
    name, module = entry_point.name, entry_point.module
    root = module.partition(".")[0]
    if root == __package__:  # an error of our own keeps its traceback
        entry_point.load()
        if name not in _POLICIES:
            raise ImportError(f"entry point {entry_point.value!r} registers no policy named {name!r}")
        return
    before = dict(_POLICIES)
    try:
        try:
            entry_point.load()
        except Exception as error:
            said = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise UnusablePolicyError(
                f"{name!r} cannot be loaded from {module}: {said}{_place_in(error, root)}; mend it there, or install "
                "what is missing"
            ) from error
        if name not in _POLICIES:
            others = sorted(known for known, each in _POLICIES.items() if each.__module__ == module)
            instead = f" (it registers {', '.join(others)})" if others else ""
            raise UnusablePolicyError(
                f"{module} registers no policy named {name!r}{instead}; put @register_policy({name!r}) on the class"
            )
        _check_usable(name, _POLICIES[name])
    except UnusablePolicyError:
        _POLICIES.clear()
        _POLICIES.update(before)
        raise


def _place_in(error: BaseException, root: str) -> str:
    """Where in a package an import went wrong, for a message; nothing if it is not known."""
    if isinstance(error, SyntaxError):  # says the line itself, and the file without its folder
        return f" in {error.filename}"
    own = [
        (frame.f_code.co_filename, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if str(frame.f_globals.get("__name__")).partition(".")[0] == root
    ]
    return f" ({own[-1][0]}, line {own[-1][1]})" if own else ""


def _check_usable(name: str, policy: object) -> None:
    where = f"{name!r}: {getattr(policy, '__qualname__', policy)}"
    if not (isinstance(policy, type) and issubclass(policy, RegisteredPolicy)):
        raise UnusablePolicyError(f"{where} is no RegisteredPolicy; derive it from that or from VisitRanking")
    if inspect.isabstract(policy):
        missing = ", ".join(sorted(policy.__abstractmethods__))
        raise UnusablePolicyError(f"{where} does not define {missing}; define what its base asks for")
    try:
        inspect.signature(policy).bind(None, 0)
    except TypeError as error:
        raise UnusablePolicyError(f"{where}() {error}; it is made with its parameters and a seed") from error
    if not (isinstance(policy.Params, type) and issubclass(policy.Params, Parameters)):
        raise UnusablePolicyError(f"{where}.Params is no class of Parameters; derive it from that")
    needed = [key for key, field in policy.Params.model_fields.items() if field.is_required()]
    if needed:
        raise UnusablePolicyError(f"{where}.Params: {', '.join(needed)} without a default; give every parameter one")
