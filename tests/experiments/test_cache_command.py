from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from experiments.cache_command import cache_app
from policies.language.prompt_cache import FOLDER_VARIABLE, PromptCache, default_path


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "cache"))


def ask(*words: str) -> Result:
    """Run ``testbed cache`` with some words."""
    return CliRunner().invoke(cache_app, words)


def fill(count: int) -> None:
    """Put some answers where the command looks for them."""
    cache = PromptCache(default_path())
    cache.put_many({f"{number:032}".encode(): [number] for number in range(count)})
    cache.close()


def test_statistics_say_where_how_many_and_how_large(tmp_path: Path) -> None:
    """The file, the number of answers, its size and its bound are shown."""
    fill(1234)
    result = ask("stats")
    assert result.exit_code == 0
    shown = "".join(result.stdout.split())
    assert f"{tmp_path}/cache/prompts.sqlite" in shown
    assert "1,234" in result.stdout
    assert "kB of 2.1 GB" in result.stdout


def test_without_a_cache_statistics_are_zero_and_nothing_is_made(tmp_path: Path) -> None:
    """Asking leaves no trace."""
    result = ask("stats")
    assert result.exit_code == 0
    assert "0 bytes of" in result.stdout
    assert ask("clear").exit_code == 0
    assert not list(tmp_path.iterdir())


def test_clearing_drops_the_answers_and_says_how_many() -> None:
    """After a clear there are none, and a second one drops none."""
    fill(30)
    assert "30 answers dropped" in ask("clear").stdout
    assert "0 answers dropped" in ask("clear").stdout
    assert PromptCache(default_path()).stats().entries == 0


@pytest.mark.parametrize("command", ["stats", "clear"])
def test_a_file_that_cannot_be_used_is_one_line_and_exit_code_2(command: str) -> None:
    """What the user can put right has no traceback."""
    default_path().mkdir(parents=True)
    result = ask(command)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert FOLDER_VARIABLE in result.stderr


def test_a_damaged_file_is_told_in_a_line() -> None:
    """Setting a file aside is a warning without a place in the code, and the command goes on."""
    default_path().parent.mkdir()
    default_path().write_bytes(b"no database" * 1000)
    result = ask("stats")
    assert result.exit_code == 0
    assert result.stderr.startswith("warning: prompt cache: ")
    assert result.stderr.count("\n") == 1
    assert default_path().with_name("prompts.sqlite.damaged").exists()


def test_alone_it_shows_its_commands() -> None:
    """Without a command the help names both."""
    shown = ask().output
    assert "stats" in shown
    assert "clear" in shown
