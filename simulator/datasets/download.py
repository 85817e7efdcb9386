"""Fetches public data sets for those with a network, as the files the readers know.

The only module here that touches a network, and only when called. It trusts nothing it receives: sizes are
bounded, a document type (the door to entity bombs) is refused, and a file appears whole or not at all.
"""

import csv
import gzip
import http.client
import io
import os
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, Any, Final
from xml.parsers import expat

from simulator.datasets.interactions import DatasetError
from simulator.datasets.online_retail import COLUMNS

ONLINE_RETAIL_URL: Final = "https://archive.ics.uci.edu/static/public/352/online+retail.zip"
ARCHIVE_NAME: Final = "online+retail.zip"
CSV_NAME: Final = "online_retail.csv.gz"
TIMEOUT_SECONDS: Final = 60
LARGEST_BYTES: Final = 1024**3
WIDEST_ROW: Final = 64
MALFORMED: Final = (
    zipfile.BadZipFile,
    zlib.error,
    expat.ExpatError,
    EOFError,
    LookupError,
    RuntimeError,
    ValueError,
)
_CHUNK: Final = 1024**2
_TAG: Final = "http://schemas.openxmlformats.org/spreadsheetml/2006/main "
_DAY_ZERO: Final = datetime(1899, 12, 30)


def download_online_retail(to: Path, opener: Callable[..., Any] = urllib.request.urlopen) -> Path:
    """Fetch "Online Retail" from the UCI Machine Learning Repository as ``online_retail.csv.gz``.

    An archive that already lies in the folder as ``online+retail.zip``, fetched by hand where there is no
    network, is used as it is. Otherwise the archive is fetched, converted and not kept.

    Args:
        to: The folder to write to, made if need be.
        opener: What opens a URL; called with the URL and ``timeout``, gives a context with ``read``.

    Returns:
        The path of the file written, for ``read_online_retail``.

    Raises:
        DatasetError: If the network, the archive or the folder fails; names what failed and how to go on by
            hand.
    """
    kept = to / ARCHIVE_NAME
    target = to / CSV_NAME
    by_hand = (
        f'download {ARCHIVE_NAME} by hand from the page "Online Retail" of the UCI Machine Learning '
        f"Repository, put it at {kept} and run this again"
    )
    source = str(kept) if kept.exists() else ONLINE_RETAIL_URL
    try:
        if kept.exists():
            packed = kept.read_bytes()
        else:
            with opener(source, timeout=TIMEOUT_SECONDS) as response:
                packed = response.read(LARGEST_BYTES + 1)
    except (OSError, http.client.HTTPException) as error:
        raise DatasetError(f"{source}: could not be fetched ({error}); {by_hand}") from error
    try:
        _write(_records(_rows(packed)), target)
    except MALFORMED as error:
        raise DatasetError(f"{source}: not the archive expected ({error}); {by_hand}") from error
    except OSError as error:
        raise DatasetError(f"{target}: cannot be written ({error.strerror}); choose another folder") from error
    return target


def _write(records: Iterable[list[str]], target: Path) -> None:
    """Write records as compressed CSV; the target appears only when all are on the disk."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    try:
        with partial.open("wb") as file:
            with (
                gzip.GzipFile(fileobj=file, mode="wb", filename="", mtime=0) as packed,
                io.TextIOWrapper(packed, encoding="utf-8", newline="") as text,
            ):
                csv.writer(text, lineterminator="\n").writerows(records)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
    finally:
        with suppress(FileNotFoundError):
            partial.unlink()


def _records(rows: Iterator[dict[int, str | float]]) -> Iterator[list[str]]:
    """The table's header and rows as text, dates as ISO; the first row of the sheet names the columns."""
    header = next(rows, {})
    places = {name: place for place, name in header.items()}
    missing = [name for name in COLUMNS if name not in places]
    if missing:
        raise ValueError(f"no column {', '.join(missing)} in the first row of its sheet")
    yield list(COLUMNS)
    for row in rows:
        yield [_as_text(row.get(places[name], ""), is_date=name == "InvoiceDate") for name in COLUMNS]


def _as_text(value: str | float, is_date: bool) -> str:
    if isinstance(value, str):
        return " ".join(value.split())
    if is_date:
        try:
            return str(_DAY_ZERO + timedelta(seconds=round(value * 86_400)))
        except (OverflowError, ValueError):
            return str(value)
    return str(int(value)) if value.is_integer() else repr(value)


def _rows(packed: bytes) -> Iterator[dict[int, str | float]]:
    """The rows of the first sheet of the one workbook in an archive: the values by column, from 0.

    An .xlsx file is an archive of XML: text lies in a shared table, a cell holds a number or a place in
    that table, and a date is a number of days since 30 December 1899 (ECMA-376, part 1, SpreadsheetML).
    """
    if len(packed) > LARGEST_BYTES:
        raise ValueError(f"more than {LARGEST_BYTES} bytes")
    with zipfile.ZipFile(io.BytesIO(packed)) as outer:
        workbooks = [name for name in outer.namelist() if name.lower().endswith(".xlsx")]
        if len(workbooks) != 1:
            raise ValueError(f"{len(workbooks)} .xlsx files in it, not one")
        with _member(outer, workbooks[0]) as stream:
            workbook = io.BytesIO(stream.read())
    with zipfile.ZipFile(workbook) as inner:
        shared: list[str] = []
        if "xl/sharedStrings.xml" in inner.namelist():
            with _member(inner, "xl/sharedStrings.xml") as stream:
                shared = list(_shared_strings(stream))
        with _member(inner, "xl/worksheets/sheet1.xml") as stream:
            yield from _sheet_rows(stream, shared)


def _member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    size = archive.getinfo(name).file_size
    if size > LARGEST_BYTES:
        raise ValueError(f"{name} unpacks to {size} bytes, more than {LARGEST_BYTES}")
    return archive.open(name)


def _shared_strings(stream: IO[bytes]) -> Iterator[str]:
    done: list[str] = []
    pieces: list[str] = []
    skipping = False
    reading = False

    def start(tag: str, _: dict[str, str]) -> None:
        nonlocal reading, skipping
        skipping = skipping or tag == _TAG + "rPh"
        reading = tag == _TAG + "t" and not skipping

    def end(tag: str) -> None:
        nonlocal reading, skipping
        reading = False
        if tag == _TAG + "rPh":
            skipping = False
        elif tag == _TAG + "si":
            done.append("".join(pieces))
            pieces.clear()

    def text(data: str) -> None:
        if reading:
            pieces.append(data)

    for _ in _parsed(stream, start, end, text):
        yield from done
        done.clear()


def _sheet_rows(stream: IO[bytes], shared: list[str]) -> Iterator[dict[int, str | float]]:
    done: list[dict[int, str | float]] = []
    row: dict[int, str | float] = {}
    pieces: list[str] = []
    column = -1
    kind = "n"
    reading = False

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal column, kind, reading
        if tag == _TAG + "c":
            column = _column(attributes["r"]) if "r" in attributes else column + 1
            kind = attributes.get("t", "n")
            pieces.clear()
        elif tag in (_TAG + "v", _TAG + "t"):
            reading = True

    def end(tag: str) -> None:
        nonlocal column, row, reading
        reading = False
        if tag == _TAG + "c" and pieces and column < WIDEST_ROW:
            row[column] = _value("".join(pieces), kind, shared)
        elif tag == _TAG + "row":
            done.append(row)
            row = {}
            column = -1

    def text(data: str) -> None:
        if reading:
            pieces.append(data)

    for _ in _parsed(stream, start, end, text):
        yield from done
        done.clear()


def _column(reference: str) -> int:
    """The column, from 0, of a cell such as "AB12"."""
    place = 0
    for letter in reference.rstrip("0123456789"):
        place = place * 26 + ord(letter) - ord("A") + 1
    return place - 1


def _value(text: str, kind: str, shared: list[str]) -> str | float:
    if kind == "s":
        return shared[int(text)]
    return float(text) if kind == "n" else text


def _parsed(
    stream: IO[bytes],
    start: Callable[[str, dict[str, str]], None],
    end: Callable[[str], None],
    text: Callable[[str], None],
) -> Iterator[None]:
    """Parse a stream, pausing after every chunk so that what the handlers gathered can be passed on."""

    def refuse(*_: object) -> None:
        raise ValueError("its XML declares a document type, which no workbook needs")

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = refuse
    while chunk := stream.read(_CHUNK):
        parser.Parse(chunk, False)
        yield
    parser.Parse(b"", True)
    yield
