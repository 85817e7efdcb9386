import copy
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner, Result

import policies.registry as registry
from experiments.cli import app
from experiments.errors import PolicyFaultError
from experiments.guests import blaming, is_foreign
from policies.registry import ENTRY_POINTS, policy_class
from policies.uniform import Uniform
from simulator.answers import PolicyError

CONFIG = """
name: small
seed: 7
world: {kind: generated, users: 40, items: 100, cities: [seattle], country: US, contexts: 0}
horizon: {start: 2015-10-05, history_days: 2, days: 2}
arms:
  today: {policy: random, share: 0.5}
  new: {policy: mine, share: 0.5}
"""

SOURCE = """
import numpy as np
from policies.ranking import VisitRanking, rank_pool
from policies.registry import register_policy

@register_policy("mine")
class Mine(VisitRanking):
    '''The first items.'''

    def fit(self, log, catalog, users, context):
        FIT

    def rank(self, requests, width):
        items = np.tile(np.arange(width, dtype=np.int32), (len(requests), 1))
        scores = np.zeros(items.shape)
        RANK
        return items, scores

    EXTRA
"""

Installed = Callable[..., None]


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installed]:
    """``mine(rank=..., fit=..., extra=...)``: a plug-in whose policy ``mine`` has these lines in it."""

    def installed(rank: str = "pass", fit: str = "pass", extra: str = "") -> None:
        info = tmp_path / "their_shop-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-shop\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{ENTRY_POINTS}]\nmine = their_shop\n")
        source = textwrap.dedent(SOURCE).replace("RANK", rank).replace("FIT", fit).replace("EXTRA", extra)
        (tmp_path / "their_shop.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path)

    yield installed
    sys.modules.pop("their_shop", None)
    registry._POLICIES.pop("mine", None)


def call(tmp_path: Path, command: str, text: str, *options: str) -> Result:
    """A command on a config of this text."""
    config = tmp_path / "config.yaml"
    config.write_text(text)
    return CliRunner().invoke(app, [command, str(config), "--out", str(tmp_path / "out"), "--quiet", *options])


@pytest.mark.parametrize(
    ("rank", "said"),
    [
        ("return None", "rank() gave None, wanted a pair: items and scores"),
        ("items = items.astype(float)", "items of rank() of type float64, wanted int32"),
        ("items = items.tolist()", "items of rank() of type list, wanted a NumPy array"),
        ("scores = scores[:, 1:]", "scores of rank() of shape "),
        ("items[:, 1] = items[:, 0]", "an item twice on one page; give each once in a row"),
        ("items[:, 0] = 100", "an item outside 0..99; -1 stands for an empty place at the end"),
    ],
)
def test_answer_that_cannot_be_shown_is_one_line(mine: Installed, tmp_path: Path, rank: str, said: str) -> None:
    """What a user's policy answers wrongly is a line with arm, policy, fault and remedy, and exit code 2."""
    mine(rank)
    result = call(tmp_path, "run", CONFIG, "--workers", "1")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: arms.new: policy 'mine': {said}")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("workers", ["1", "2"])
def test_error_of_their_code_is_shown_with_their_frames(mine: Installed, tmp_path: Path, workers: str) -> None:
    """Of an error raised in a user's policy one sees its own frames and cause, also from another process."""
    mine(
        "self.look_up(width)", extra="def look_up(self, width):\n        raise KeyError(width) from OSError('no table')"
    )
    result = call(tmp_path, "run", CONFIG, "--workers", workers)
    lines = result.stderr.splitlines()
    assert result.exit_code == 2
    assert "OSError: no table" in lines
    frames = [line.strip() for line in lines if line.startswith("  File ")]
    assert [frame.rpartition(" ")[2] for frame in frames] == ["rank", "look_up"]
    assert all("their_shop.py" in frame for frame in frames)
    assert lines[-1].startswith("error: arms.new: policy 'mine': KeyError: ")
    assert lines[-1].endswith("their_shop.py, line 20); mend it there")


def test_error_while_fitting_is_theirs(mine: Installed, tmp_path: Path) -> None:
    """An error in ``fit`` is shown likewise."""
    mine(fit="return log.nothing_of_the_kind")
    result = call(tmp_path, "run", CONFIG, "--workers", "1")
    assert result.exit_code == 2
    assert result.stderr.count("  File ") == 1
    assert "error: arms.new: policy 'mine': AttributeError: " in result.stderr


def test_wrong_signature_is_one_line(mine: Installed, tmp_path: Path) -> None:
    """A method that cannot be called as its base's is told of by name."""
    mine(extra="def refresh(self, day):\n        pass")
    result = call(tmp_path, "run", CONFIG, "--workers", "1")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: arms.new: policy 'mine': Mine.refresh() takes 2 positional arguments but 3")


def test_arm_of_a_switchback_is_named(mine: Installed, tmp_path: Path) -> None:
    """Where cities change arms within one simulation, the arm whose policy failed is the one that is named."""
    mine("items = items.astype(float)")
    text = CONFIG.replace("arms:", "assignment: {unit: city_hours, hours: 6}\narms:").replace("days: 2}", "days: 14}")
    text = text.replace("users: 40", "users: 400").replace(
        "kind: generated,", "kind: generated, cities_per_climate: 12,"
    )
    result = call(tmp_path, "run", text + "analysis: {primary: ctr, metrics: [ctr], capping: null}\n", "--workers", "1")
    assert result.exit_code == 2, result.stderr
    assert result.stderr == "error: arms.new: policy 'mine': items of rank() of type float64, wanted int32\n"


def test_evaluation_names_the_policy(mine: Installed, tmp_path: Path) -> None:
    """Offline a policy that gives an unknown item is refused, by its key in the config."""
    mine("items[:, 0] = 100")
    head, _, _ = CONFIG.replace("days: 2}", "}").partition("arms:")
    text = (
        "kind: evaluation\n"
        + head.replace("history_days: 2,", "history_days: 9")
        + ("holdout_days: 3\npolicies: {a: {policy: random}, b: {policy: mine}}\nreplicates: 100\n")
    )
    result = call(tmp_path, "evaluate", text, "--workers", "1")
    assert result.exit_code == 2, result.stderr
    assert result.stderr.startswith("error: policies.b: policy 'mine': an item outside 0..99")


def test_list_of_policies_outlives_a_broken_one(mine: Installed) -> None:
    """`policies` lists what can be used, and says in one line on standard error what cannot."""
    mine(fit="return (")
    result = CliRunner().invoke(app, ["policies"])
    assert result.exit_code == 2
    assert "popularity" in result.stdout
    assert result.stderr.startswith("error: policy 'mine' cannot be loaded from their_shop: SyntaxError")
    assert result.stderr.count("\n") == 1


def test_validate_names_the_key_of_a_broken_policy(mine: Installed, tmp_path: Path) -> None:
    """A config that names a policy which cannot be imported is refused with a line that begins with the key."""
    mine(extra="import no_such_module_anywhere")
    (tmp_path / "config.yaml").write_text(CONFIG)
    result = CliRunner().invoke(app, ["validate", str(tmp_path / "config.yaml")])
    assert result.exit_code == 2
    assert result.stderr.startswith("error: arms.new.policy: 'mine' cannot be loaded from their_shop: ModuleNotFound")


def test_faults_of_our_own_policies_keep_their_traceback() -> None:
    """A policy of this project that fails is a defect of ours, which is not worded."""
    ours = Uniform(Uniform.Params(), 1)
    assert not is_foreign(Uniform)
    with pytest.raises(PolicyError, match="twice"), blaming({"arms.a": ours}):
        raise PolicyError("Uniform: an item twice on one page")


def test_errors_that_are_nobodys_stay(mine: Installed) -> None:
    """An error with no frame of the user's code is not laid at the policy's door, and one that words itself stays."""
    mine()
    theirs = policy_class("mine")(SimpleNamespace(), 1)
    with pytest.raises(ZeroDivisionError), blaming({"arms.a": theirs}):
        _ = 1 / 0
    with pytest.raises(PolicyFaultError, match="as it was"), blaming({"arms.a": theirs}):
        raise PolicyFaultError("as it was")


def test_fault_goes_from_process_to_process() -> None:
    """Line and frames survive being sent."""
    fault = copy.copy(PolicyFaultError("a line", "its frames"))  # as pickling does it
    assert (str(fault), fault.line, fault.frames) == ("a line", "a line", "its frames")
