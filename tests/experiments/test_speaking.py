import pytest
import typer

from experiments.errors import UserError
from experiments.speaking import INTERRUPTED, USER_ERROR, speaking_plainly


def interrupted_in_compiled_code() -> None:
    """What numba makes of Ctrl-C while it hands over to compiled code."""
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt as error:
        raise SystemError("CPUDispatcher(<function draw>) returned a result with an exception set") from error


def test_an_interrupt_in_compiled_code_is_an_interrupt(capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C ends in one line and its own exit code, wherever it falls."""
    with pytest.raises(typer.Exit) as caught, speaking_plainly():
        interrupted_in_compiled_code()
    assert caught.value.exit_code == INTERRUPTED == 130
    assert capsys.readouterr().err.splitlines() == ["interrupted"]


def test_what_users_can_put_right_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """A message of several lines is told in one."""
    with pytest.raises(typer.Exit) as caught, speaking_plainly():
        raise UserError("users: 0\n (use at least 1)")
    assert caught.value.exit_code == USER_ERROR == 2
    assert capsys.readouterr().err == "error: users: 0 (use at least 1)\n"


def test_defects_keep_their_traceback() -> None:
    """Any other error of the system is a defect and is not hidden."""
    with pytest.raises(SystemError, match="bad call"), speaking_plainly():
        raise SystemError("bad call")
