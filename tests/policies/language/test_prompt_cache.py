import pickle
import signal
import sqlite3
import subprocess
import sys
import warnings
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from policies.language.prompt_cache import (
    FOLDER_VARIABLE,
    CacheError,
    PromptCache,
    cache_key,
    default_path,
)

WRITER = """
import sys
from pathlib import Path
from policies.language.prompt_cache import PromptCache

cache, count = PromptCache(Path(sys.argv[1])), int(sys.argv[3])
key = lambda who, number: f"{who}-{number}".encode().ljust(32)
for start in range(0, count, 100):
    cache.put_many({key(sys.argv[2], number): [number] * 20 for number in range(start, start + 100)})
    cache.get_many([key("ab"[sys.argv[2] == "a"], number) for number in range(start, start + 100)])
    print(start, flush=True)
found = cache.get_many([key(sys.argv[2], number) for number in range(count)])
assert found == {key(sys.argv[2], number): (number,) * 20 for number in range(count)}
cache.close()
"""


def key(number: int, who: str = "test") -> bytes:
    """The key of a number."""
    return f"{who}-{number}".encode().ljust(32)


def writer(path: Path, who: str, count: int) -> "subprocess.Popen[str]":
    """A process that writes a hundred answers at a time, reads another's, and at last checks its own."""
    command = [sys.executable, "-c", WRITER, str(path), who, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 - this file's own text


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a cache may be; its folder is not there yet."""
    return tmp_path / "deep" / "prompts.sqlite"


@pytest.fixture
def cache(path: Path) -> Iterator[PromptCache]:
    """An empty cache."""
    made = PromptCache(path)
    yield made
    made.close()


@pytest.mark.parametrize("prefix", [[], [1, 2, 3], [2**31 - 1]])
def test_equal_questions_have_equal_keys_however_they_are_held(prefix: list[int]) -> None:
    """A key does not depend on whether the ids come as a list, a tuple or an array."""
    held = (prefix, tuple(prefix), array("q", prefix))
    keys = {cache_key("m", "", each, (4,), "s") for each in held}
    assert len(keys) == 1
    assert len(keys.pop()) == 32


@given(
    st.lists(
        st.tuples(
            st.text(max_size=3),
            st.text(max_size=3),
            st.lists(st.integers(0, 300), max_size=4),
            st.lists(st.integers(0, 300), max_size=4),
            st.text(max_size=3),
        ),
        max_size=12,
        unique_by=repr,
    )
)
@settings(max_examples=50)
def test_different_questions_have_different_keys(questions: list[tuple[str, str, list[int], list[int], str]]) -> None:
    """Nothing can move from one part of a question to the next, nor from prefix to suffix, without changing the key."""
    assert len({cache_key(*question) for question in questions}) == len(questions)


def test_a_token_id_that_does_not_fit_is_refused(cache: PromptCache) -> None:
    """Ids are never cut to 32 bits in silence."""
    with pytest.raises(OverflowError):
        cache_key("m", "", (2**31,), (), "")
    with pytest.raises(OverflowError):
        cache.put_many({key(1): [2**31]})


@given(st.dictionaries(st.binary(max_size=32), st.lists(st.integers(-(2**31), 2**31 - 1), max_size=30), max_size=20))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
def test_what_is_put_is_got(cache: PromptCache, answers: dict[bytes, list[int]]) -> None:
    """Every answer comes back as it was put, and keys that were never put are not there."""
    cache.clear()
    cache.put_many(answers)
    assert cache.get_many([*answers, b"never" * 7]) == {each: tuple(tokens) for each, tokens in answers.items()}
    assert cache.stats().entries == len(answers)


def test_answers_outlive_the_object(path: Path) -> None:
    """Another object for the same file finds what the first one kept, closed or not."""
    first = PromptCache(path)
    first.put_many({key(1): [1, 2], key(2): []})
    assert PromptCache(path).get_many([key(1), key(2), key(3)]) == {key(1): (1, 2), key(2): ()}
    first.close()
    assert first.get_many([key(1)]) == {key(1): (1, 2)}


def test_ten_thousand_keys_are_asked_for_at_once(cache: PromptCache) -> None:
    """A request is not limited by how many variables a statement may have, and asks for each key once."""
    answers = {key(number): [number] for number in range(10_000)}
    cache.put_many(answers)
    assert cache.get_many([*answers, *answers]) == {each: tuple(tokens) for each, tokens in answers.items()}


def test_an_answer_that_is_there_stays(cache: PromptCache) -> None:
    """Writing a key again neither changes its answer nor counts it twice."""
    cache.put_many({key(1): [1]})
    cache.put_many({key(1): [2], key(2): [2]})
    assert cache.get_many([key(1), key(2)]) == {key(1): (1,), key(2): (2,)}
    assert cache.stats().entries == 2


def test_the_file_keeps_within_its_bound(path: Path) -> None:
    """However much is written, the file does not outgrow its bound, and the last answers are there."""
    most = 1 << 20
    cache = PromptCache(path, most)
    for start in range(0, 12_000, 300):
        cache.put_many({key(number): range(number % 60) for number in range(start, start + 300)})
        cache.close()
        assert path.stat().st_size <= most
    assert len(cache.get_many([key(number) for number in range(11_700, 12_000)])) == 300
    assert 0 < cache.stats().entries < 12_000
    cache.close()


def test_what_was_used_last_stays_and_a_full_cache_drops_in_bulk(path: Path) -> None:
    """An old answer that is read outlives newer ones that are not, and one overflow drops a tenth of the room."""
    cache = PromptCache(path, 200_000)
    number = 0
    while not number or cache.stats().entries == number:
        full = number
        cache.put_many({key(number): range(20)})
        number += 1
    assert cache.stats().entries == pytest.approx(0.9 * full, abs=2)
    cache.clear()
    cache.put_many({key(each): range(20) for each in range(full)})
    assert cache.get_many([key(0)])
    cache.put_many({key(full): range(20)})
    kept = cache.get_many([key(each) for each in range(full + 1)])
    assert {key(0), key(full)} < set(kept)
    assert sorted(kept) == sorted([key(0), *(key(each) for each in range(full + 2 - len(kept), full + 1))])
    cache.close()


def test_reading_writes_in_batches_and_closing_notes_the_rest(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Single reads open no transaction until there are many of them, or until the cache is closed."""
    cache = PromptCache(path)
    cache.put_many({key(number): [number] for number in range(2000)})
    statements: list[str] = []
    assert cache._connection is not None
    cache._connection.set_trace_callback(statements.append)
    for number in range(1000):
        cache.get_many([key(number)])
    assert not any(statement.startswith("BEGIN") for statement in statements)
    for number in range(1000, 2000):
        cache.get_many([key(number)])
    assert sum(statement.startswith("BEGIN") for statement in statements) == 1
    cache.close()
    assert sum(statement.startswith("BEGIN") for statement in statements) == 2


def test_a_bound_smaller_than_an_answer_keeps_nothing(path: Path) -> None:
    """A cache too small for anything stays empty and usable."""
    cache = PromptCache(path, 1)
    cache.put_many({key(1): [1]})
    assert cache.get_many([key(1)]) == {}
    assert cache.stats().entries == 0
    cache.close()
    with pytest.raises(ValueError, match="most_bytes: 0"):
        PromptCache(path, 0)


def test_clearing_drops_everything_and_gives_the_room_back(cache: PromptCache) -> None:
    """After a clear nothing is found, the file is small, and work goes on."""
    cache.put_many({key(number): range(50) for number in range(2000)})
    before = cache.stats().bytes
    assert cache.clear() == 2000
    assert cache.get_many([key(1)]) == {}
    assert cache.stats().entries == 0
    assert cache.stats().bytes < before / 5
    cache.put_many({key(1): [1]})
    assert cache.get_many([key(1)]) == {key(1): (1,)}


def test_asking_about_a_cache_that_is_not_there_makes_none(cache: PromptCache, path: Path) -> None:
    """Neither statistics nor clearing leaves a file or a folder behind."""
    assert cache.stats().entries == cache.stats().bytes == cache.clear() == 0
    assert not path.parent.exists()


def test_a_copy_made_by_pickling_opens_the_file_itself(cache: PromptCache) -> None:
    """An open cache can be sent to another process, and both go on."""
    cache.put_many({key(1): [1]})
    copy = pickle.loads(pickle.dumps(cache))  # noqa: S301 - made a moment ago
    copy.put_many({key(2): [2]})
    assert cache.get_many([key(1), key(2)]) == copy.get_many([key(1), key(2)]) == {key(1): (1,), key(2): (2,)}
    assert copy.most_bytes == cache.most_bytes
    copy.close()


def test_two_processes_write_and_read_at_once(path: Path) -> None:
    """Two processes that begin the same file together and write thousands of answers each lose none."""
    writers = [writer(path, who, 3000) for who in "ab"]
    assert [each.wait(60) for each in writers] == [0, 0]
    cache = PromptCache(path)
    wanted = {key(number, who): (number,) * 20 for who in "ab" for number in range(3000)}
    assert cache.get_many(list(wanted)) == wanted
    assert cache.stats().entries == 6000
    cache.close()


def test_a_killed_writer_leaves_whole_answers(path: Path) -> None:
    """What a killed process wrote is there whole or not at all, and the counts agree with it."""
    process = writer(path, "a", 10_000_000)
    assert process.stdout is not None
    for _ in range(10):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    cache = PromptCache(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        entries = cache.stats().entries
        assert entries >= 1000
        assert entries % 100 == 0
        wanted = {key(number, "a"): (number,) * 20 for number in range(entries)}
        assert cache.get_many(list(wanted)) == wanted
        cache.put_many({key(1): [1]})
    cache.close()


def damage_header(path: Path) -> None:
    """Nothing but other bytes."""
    path.write_bytes(b"not a database" * 1000)


def damage_pages(path: Path) -> None:
    """Zeros behind the first page."""
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + bytes(len(whole) - 4096))


def damage_end(path: Path) -> None:
    """The last two pages missing."""
    path.write_bytes(path.read_bytes()[:-8192])


def damage_value(path: Path) -> None:
    """Another value than was written."""
    connection = sqlite3.connect(path)
    connection.execute("UPDATE answers SET value = x'0100000002000000'")
    connection.commit()
    connection.close()


def damage_length(path: Path) -> None:
    """A value too short."""
    connection = sqlite3.connect(path)
    connection.execute("UPDATE answers SET value = x'01'")
    connection.commit()
    connection.close()


def damage_totals(path: Path) -> None:
    """No totals."""
    connection = sqlite3.connect(path)
    connection.execute("DELETE FROM totals")
    connection.commit()
    connection.close()


def use(cache: PromptCache, answers: Mapping[bytes, Sequence[int]]) -> None:
    """Write and read every answer."""
    for each, tokens in answers.items():
        cache.put_many({each: tokens})
        cache.get_many([each])


@pytest.mark.parametrize(
    "damage", [damage_header, damage_pages, damage_end, damage_value, damage_length, damage_totals]
)
def test_a_damaged_file_is_set_aside(path: Path, damage: Callable[[Path], None]) -> None:
    """Damage is told in a warning, the file is kept under another name, and answers are kept in a new one."""
    cache = PromptCache(path)
    answers = {key(number): range(50) for number in range(500)}
    cache.put_many(answers)
    cache.close()
    damage(path)
    expected = r"is damaged \(.*\); kept as prompts.sqlite.damaged, a new one is begun"
    with pytest.warns(RuntimeWarning, match=expected):
        use(cache, answers)
    assert path.with_name("prompts.sqlite.damaged").exists()
    fresh = PromptCache(path)
    fresh.put_many(answers)
    assert fresh.get_many(list(answers)) == {each: tuple(tokens) for each, tokens in answers.items()}
    assert cache.get_many([key(1)])
    cache.close()
    fresh.close()


def test_wrong_totals_are_damage_when_room_is_made(path: Path) -> None:
    """Totals that say the cache is full of what is not there do not make it drop for ever."""
    cache = PromptCache(path, 1 << 20)
    cache.put_many({key(1): [1]})
    cache.close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE totals SET bytes = 1 << 40")
    connection.close()
    with pytest.warns(RuntimeWarning, match="its totals are wrong"):
        cache.put_many({key(2): [2]})
    assert cache.get_many([key(2)]) == {key(2): (2,)}
    cache.close()


def test_damage_seen_twice_sets_one_file_aside(path: Path) -> None:
    """A process that finds damage late does not set aside the new file that another one has begun."""
    late, early = PromptCache(path), PromptCache(path)
    answers = {key(number): range(50) for number in range(500)}
    late.put_many(answers)
    assert late.get_many([key(1)])
    damage_value(path)
    with pytest.warns(RuntimeWarning, match="damaged"):
        early.get_many([key(2)])
    early.put_many(answers)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert late.get_many([key(3)]) == {key(3): tuple(range(50))}
    assert early.stats().entries == 500
    late.close()
    early.close()
    assert PromptCache(path).get_many([key(4)])


def test_without_a_folder_to_write_to_work_goes_on(tmp_path: Path) -> None:
    """Where the file cannot be made there is one warning in a line; nothing is found, nothing is kept."""
    (tmp_path / "file").write_text("in the way")
    cache = PromptCache(tmp_path / "file" / "prompts.sqlite")
    with pytest.warns(RuntimeWarning, match=r"prompt cache: .*going on without it") as said:
        cache.put_many({key(1): [1]})
    assert len(said) == 1
    assert "\n" not in str(said[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cache.put_many({key(1): [1]})
        assert cache.get_many([key(1)]) == {}
        cache.close()


@pytest.mark.parametrize("name", [".", "n" * 300])
def test_what_is_asked_about_a_file_that_cannot_be_used_is_an_error(tmp_path: Path, name: str) -> None:
    """Statistics and clearing say in a line why they fail, and name the remedy."""
    cache = PromptCache(tmp_path / name)
    for ask in (cache.stats, cache.clear):
        with pytest.raises(CacheError, match=rf"^[^\n]*{FOLDER_VARIABLE}\)$"):
            ask()


def test_a_file_of_something_else_is_left_alone(path: Path) -> None:
    """A database that is no cache is neither read, nor written, nor set aside."""
    path.parent.mkdir()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE precious (x)")
    connection.close()
    before = path.read_bytes()
    cache = PromptCache(path)
    with pytest.warns(RuntimeWarning, match="holds no prompt cache of this version"):
        cache.put_many({key(1): [1]})
    assert path.read_bytes() == before
    assert {file.name for file in path.parent.iterdir()} <= {path.name, f"{path.name}.lock"}


def test_another_thread_is_told_so(cache: PromptCache) -> None:
    """Misuse is an error, not a cache that silently stops working."""
    from concurrent.futures import ThreadPoolExecutor

    cache.put_many({key(1): [1]})
    with ThreadPoolExecutor(1) as pool, pytest.raises(sqlite3.ProgrammingError):
        pool.submit(cache.get_many, [key(1)]).result()


def test_the_default_file_lies_in_the_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder is the one named, else of the user's cache directory, else of the home directory."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "named"))
    assert default_path() == tmp_path / "named" / "prompts.sqlite"
    monkeypatch.setenv(FOLDER_VARIABLE, "")
    assert default_path() == tmp_path / "xdg" / "recgpt-testbed" / "prompts.sqlite"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_path() == tmp_path / "home" / ".cache" / "recgpt-testbed" / "prompts.sqlite"
    assert not list(tmp_path.iterdir())
