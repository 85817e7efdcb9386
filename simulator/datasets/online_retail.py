"""Reader of the UCI "Online Retail" log: the invoices of a UK gift shop, 1 December 2010 to 9 December 2011.

Knows the file's columns and flaws (cancellations, postage and fees among the products, stock-keeping notes
written as sales, customers left blank). It does not know how a world is fitted to what it returns.

Source: D. Chen (2015), "Online Retail", UCI Machine Learning Repository, doi:10.24432/C5BW33, CC BY 4.0.
"""

import csv
import gzip
import zlib
from collections.abc import Iterator
from datetime import date, datetime, time
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from simulator.datasets.interactions import DatasetError, Integers, PurchaseLog
from simulator.datasets.title_categories import derive_categories, readable_title

COLUMNS: Final = (
    "InvoiceNo",
    "StockCode",
    "Description",
    "Quantity",
    "InvoiceDate",
    "UnitPrice",
    "CustomerID",
    "Country",
)
DATE_FORMATS: Final = ("%Y-%m-%d %H:%M:%S", "%m/%d/%Y %H:%M")
PRODUCT_CODE: Final = r"^\d{5}[A-Z]{0,2}$"
SERVICES: Final = ("NEXT DAY CARRIAGE", "PACKING CHARGE", "HIGH RESOLUTION IMAGE")
_BLOCK_BYTES: Final = 8 << 20
_FATES: Final = {
    "unreadable_rows": "unreadable_rows",
    "stock_notes": "stock_notes",
    "missing_customer": "missing_customer",
    "non_product_codes": "non_product_codes",
    "cancellation": "cancellations",
    "non_positive_quantity": "non_positive_quantity",
    "non_positive_price": "non_positive_price",
    "sale": "kept",
}
FETCH: Final = "fetch it with `testbed data online-retail --to DIR`"


def read_online_retail(path: Path) -> PurchaseLog:
    """Read ``online_retail.csv`` or ``.csv.gz`` as a purchase log.

    Every row of the file meets one fate, the first of these that applies, counted in ``PurchaseLog.counts``:

    1. ``unreadable_rows``: not as many fields as the header, no invoice or stock code, or a number or date
       that does not parse.
    2. ``stock_notes``: no customer and no positive price; the warehouse's notes ("wet/mouldy", "found").
    3. ``missing_customer``: a sale to nobody known.
    4. ``non_product_codes``: products have a code of five digits and at most two letters (letter case is
       ignored); the rest is postage, fees, discounts, vouchers, manual entries. Three services sold under a
       product's code (``SERVICES``) count here too.
    5. ``cancellations_matched``, ``cancellations_unmatched``: the invoice number begins with C. A
       cancellation is matched to the same customer's latest purchase of the same item, not after it, of
       which enough units are still unrefunded, and becomes a refund of that row.
    6. ``non_positive_quantity``, then ``non_positive_price``.
    7. ``merged_lines``: a further line of an item already in the basket; quantities add up, the unit price
       becomes the average over units.
    8. ``kept``: a row of the result.

    An invoice's time is that of its earliest line, and a customer's invoices of the same minute are one
    basket. Dates may be ISO or, as in common copies of the file, month/day/year.

    Args:
        path: The file; columns may come in any order, further columns are ignored.

    Returns:
        Items ordered by code, users by code, rows by time, user and item.

    Raises:
        DatasetError: If the file is missing, damaged, lacks columns, or holds no usable row.
    """
    rows, unreadable = _parse(path, _read_text(path))
    rows = rows.with_columns(fate=_fate()).with_columns(pl.col("when").min().over("InvoiceNo", "CustomerID"))
    sales = rows.filter(pl.col("fate") == "sale")
    if sales.is_empty():
        raise DatasetError(f"{path}: holds no sale of a product to a known customer; {FETCH}")

    midnight = datetime.combine(sales["when"].dt.date().min(), time.min)  # type: ignore[arg-type]
    seconds = (pl.col("when") - midnight).dt.total_seconds()
    sales = sales.with_columns(time=seconds)
    purchases = _baskets(sales)
    cancellations = rows.filter(pl.col("fate") == "cancellation").with_columns(time=seconds)
    refunds = _refunds(purchases, cancellations)

    fates = dict(rows["fate"].value_counts(sort=True, name="n").iter_rows())
    counts = {
        "unreadable_rows": unreadable + fates.get("unreadable_rows", 0),
        "stock_notes": fates.get("stock_notes", 0),
        "missing_customer": fates.get("missing_customer", 0),
        "non_product_codes": fates.get("non_product_codes", 0),
        "cancellations_matched": len(refunds),
        "cancellations_unmatched": len(cancellations) - len(refunds),
        "non_positive_quantity": fates.get("non_positive_quantity", 0),
        "non_positive_price": fates.get("non_positive_price", 0),
        "merged_lines": len(sales) - len(purchases),
        "kept": len(purchases),
    }
    return _log(midnight, sales, purchases, refunds, counts | _raw_figures(rows, unreadable))


def online_retail_visits(path: Path) -> tuple[date, Integers, Integers, dict[str, int]]:
    """The visits of the log alone: who came when, for a trace. Takes a few hundred MiB, whatever the file's size.

    The file is read a block of lines at a time. Rows are judged as by ``read_online_retail``; of its fates ``kept`` are
    all sales here and ``cancellations`` all cancellations. Visits and the numbers of users are those of its
    ``PurchaseLog.visits``.

    Args:
        path: as for ``read_online_retail``.

    Returns:
        The first day, the user and the time of each visit (seconds since that day's midnight, by time and then user),
        and what became of the rows.

    Raises:
        DatasetError: as for ``read_online_retail``.
    """
    counts = dict.fromkeys(_FATES.values(), 0)
    baskets: list[pl.DataFrame] = []
    for text in _blocks(path):
        rows, unreadable = _parse(path, text)
        rows = rows.with_columns(fate=_fate())
        counts["unreadable_rows"] += unreadable
        for fate, number in rows["fate"].value_counts().iter_rows():
            counts[_FATES[fate]] += number
        invoices = rows.filter(pl.col("CustomerID").is_not_null()).group_by("InvoiceNo", "CustomerID")
        baskets.append(invoices.agg(pl.col("when").min(), (pl.col("fate") == "sale").any().alias("sale")))
    whole = pl.concat(baskets).group_by("InvoiceNo", "CustomerID").agg(pl.col("when").min(), pl.col("sale").any())
    sales = whole.filter("sale").select("CustomerID", "when").unique()
    if sales.is_empty():
        raise DatasetError(f"{path}: holds no sale of a product to a known customer; {FETCH}")
    midnight = datetime.combine(sales["when"].dt.date().min(), time.min)  # type: ignore[arg-type]
    visits = sales.select("CustomerID", (pl.col("when") - midnight).dt.total_seconds()).sort("when", "CustomerID")
    users = visits["CustomerID"].unique().sort()
    return midnight.date(), _positions(visits["CustomerID"], users), visits["when"].to_numpy(), counts


def _blocks(path: Path) -> Iterator[str]:
    """The file's lines, some at a time, each time under its header."""
    _check_name(path)
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            header = file.readline()
            while lines := file.readlines(_BLOCK_BYTES):
                yield _decoded(header + b"".join(lines))
    except (EOFError, gzip.BadGzipFile, zlib.error, OSError) as error:
        raise _unreadable(path, error) from error


def _read_text(path: Path) -> str:
    _check_name(path)
    try:
        data = path.read_bytes()
        return _decoded(gzip.decompress(data) if path.suffix == ".gz" else data)
    except (EOFError, gzip.BadGzipFile, zlib.error, OSError) as error:
        raise _unreadable(path, error) from error


def _check_name(path: Path) -> None:
    if not path.name.endswith((".csv", ".csv.gz")):
        raise DatasetError(f"{path}: not a .csv or .csv.gz file; {FETCH}")


def _unreadable(path: Path, error: Exception) -> DatasetError:
    if isinstance(error, FileNotFoundError):
        return DatasetError(f"{path}: no such file; {FETCH}")
    if isinstance(error, OSError) and not isinstance(error, gzip.BadGzipFile):
        return DatasetError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions")
    return DatasetError(f"{path}: damaged or truncated gzip ({error}); {FETCH} again")


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _parse(path: Path, text: str) -> tuple[pl.DataFrame, int]:
    """The rows with as many fields as the header, typed, in file order; and how many rows have not.

    A row is a line: an unclosed quotation mark costs its own line and no other. Lines without quotation
    marks, the great majority, are split at once; the others go through the csv module.
    """
    header, *lines = text.replace("\r\n", "\n").split("\n")
    names = _fields(header)
    missing = [name for name in COLUMNS if names.count(name) != 1]
    if missing:
        raise DatasetError(f"{path}: column {', '.join(missing)} not found once in its first line; {FETCH}")
    places = [str(place) for place in range(len(names))]

    table = pl.DataFrame({"line": lines}, schema={"line": pl.String}).with_row_index("row")
    table = table.filter(pl.col("line").str.strip_chars() != "")
    commas = pl.col("line").str.count_matches(",", literal=True)
    plain = ~pl.col("line").str.contains('"', literal=True) & (commas == len(names) - 1)
    fields = pl.col("line").str.split_exact(",", len(names) - 1).struct.rename_fields(places)
    simple = table.filter(plain).select("row", fields).unnest("line")
    split = ((row, *_fields(line)) for row, line in table.filter(~plain).iter_rows())
    hard = [row for row in split if len(row) == len(names) + 1]
    rows = pl.concat([simple, pl.DataFrame(hard, schema=simple.schema, orient="row")]).sort("row")
    rows = rows.select(pl.col(places[names.index(name)]).str.strip_chars().alias(name) for name in COLUMNS)
    digits = pl.col("CustomerID").str.strip_suffix(".0")
    dates = [pl.col("InvoiceDate").str.to_datetime(form, strict=False) for form in DATE_FORMATS]
    return rows.with_columns(
        pl.col("StockCode").str.to_uppercase(),
        pl.col("Description").str.replace_all(r"\s+", " "),
        pl.col("Quantity").cast(pl.Int64, strict=False),
        pl.col("UnitPrice").cast(pl.Float64, strict=False),
        pl.when(digits != "").then(digits).alias("CustomerID"),
        pl.when(pl.col("Country") != "").then("Country").otherwise(pl.lit("Unspecified")).alias("Country"),
        pl.coalesce(dates).alias("when"),
    ), len(table) - len(rows)


def _fields(line: str) -> list[str]:
    try:
        return next(csv.reader([line], strict=True), [])
    except csv.Error:
        return []


def _fate() -> pl.Expr:
    nobody = pl.col("CustomerID").is_null()
    readable = (
        (pl.col("InvoiceNo") != "")
        & (pl.col("StockCode") != "")
        & pl.col("Quantity").is_not_null()
        & pl.col("UnitPrice").is_finite().fill_null(False)
        & pl.col("when").is_not_null()
    )
    product = pl.col("StockCode").str.contains(PRODUCT_CODE) & ~pl.col("Description").str.to_uppercase().is_in(SERVICES)
    return (
        pl.when(~readable)
        .then(pl.lit("unreadable_rows"))
        .when(nobody & (pl.col("UnitPrice") <= 0))
        .then(pl.lit("stock_notes"))
        .when(nobody)
        .then(pl.lit("missing_customer"))
        .when(~product)
        .then(pl.lit("non_product_codes"))
        .when(pl.col("InvoiceNo").str.starts_with("C"))
        .then(pl.lit("cancellation"))
        .when(pl.col("Quantity") <= 0)
        .then(pl.lit("non_positive_quantity"))
        .when(pl.col("UnitPrice") <= 0)
        .then(pl.lit("non_positive_price"))
        .otherwise(pl.lit("sale"))
    )


def _baskets(sales: pl.DataFrame) -> pl.DataFrame:
    """One row for every item of every basket, sorted by time, user and item."""
    paid = (pl.col("UnitPrice") * pl.col("Quantity")).sum() / pl.col("Quantity").sum()
    # Rounded, since the order in which threads add prices may change an average's last bit.
    average = pl.max_horizontal(paid.round(6), pl.col("UnitPrice").min())
    one_price = pl.col("UnitPrice").min() == pl.col("UnitPrice").max()
    return (
        sales.group_by("time", "CustomerID", "StockCode")
        .agg(
            pl.col("Quantity").sum(),
            pl.when(one_price).then(pl.col("UnitPrice").min()).otherwise(average).alias("UnitPrice"),
        )
        .sort("time", "CustomerID", "StockCode")
    )


def _refunds(purchases: pl.DataFrame, cancellations: pl.DataFrame) -> Integers:
    """Row, time and units of every cancellation that found its purchase, by time, [refunds, 3]."""
    cancelled = (
        cancellations.filter(pl.col("Quantity") < 0)
        .sort("time", maintain_order=True)
        .select("CustomerID", "StockCode", "time", -pl.col("Quantity"))
    )
    bought: dict[tuple[str, str], list[tuple[int, int]]] = {}
    concerned = purchases.with_row_index("row").join(cancelled, on=["CustomerID", "StockCode"], how="semi")
    for row, when, user, item in concerned.select("row", "time", "CustomerID", "StockCode").iter_rows():
        bought.setdefault((user, item), []).append((row, when))

    left = purchases["Quantity"].to_numpy().astype(np.int64)
    found: list[tuple[int, int, int]] = []
    for user, item, when, quantity in cancelled.iter_rows():
        earlier = (
            row for row, then in reversed(bought.get((user, item), [])) if then <= when and left[row] >= quantity
        )
        row = next(earlier, None)
        if row is not None:
            left[row] -= quantity
            found.append((row, when, quantity))
    return np.array(found, np.int64).reshape(-1, 3)


def _log(
    midnight: datetime,
    sales: pl.DataFrame,
    purchases: pl.DataFrame,
    refunds: Integers,
    counts: dict[str, int],
) -> PurchaseLog:
    items = sales.group_by("StockCode").agg(pl.col("time").min(), pl.col("UnitPrice").median()).sort("StockCode")
    users = _most_frequent(sales, "CustomerID", "Country")
    item_codes, user_codes = items["StockCode"], users["CustomerID"]
    titles = _titles(sales, item_codes)
    category, names = derive_categories(titles)
    starts = pl.struct("time", "CustomerID").rle_id().cast(pl.Int64)
    return PurchaseLog(
        start=midnight.date(),
        item_codes=tuple(item_codes),
        titles=titles,
        price=items["UnitPrice"].to_numpy(writable=True),
        category=category,
        category_names=names,
        first_seen=items["time"].to_numpy(writable=True),
        user_codes=tuple(user_codes),
        user_country=tuple(users["Country"]),
        user=_positions(purchases["CustomerID"], user_codes),
        item=_positions(purchases["StockCode"], item_codes).astype(np.int32),
        time=purchases["time"].to_numpy(writable=True),
        quantity=purchases["Quantity"].to_numpy(writable=True),
        unit_price=purchases["UnitPrice"].to_numpy(writable=True),
        visit=purchases.select(starts).to_series().to_numpy(writable=True),
        refund_row=refunds[:, 0],
        refund_time=refunds[:, 1],
        refund_quantity=refunds[:, 2],
        counts=counts,
    )


def _titles(sales: pl.DataFrame, item_codes: pl.Series) -> tuple[str, ...]:
    """Every item's most frequent description, tidied; its code where no sale describes it.

    The shop writes products in capitals and remarks ("damaged", "?display?") in small letters.
    """
    shouted = sales.filter(pl.col("Description").str.contains("[A-Z]"))
    common = dict(_most_frequent(shouted, "StockCode", "Description").iter_rows())
    return tuple(readable_title(common.get(code, code)) for code in item_codes)


def _most_frequent(rows: pl.DataFrame, key: str, value: str) -> pl.DataFrame:
    """Every key with its most frequent value, the alphabetically first of equals, sorted by key."""
    return (
        rows.group_by(key, value)
        .len()
        .sort([key, "len", value], descending=[False, True, False])
        .group_by(key, maintain_order=True)
        .first()
        .select(key, value)
    )


def _positions(values: pl.Series, codes: pl.Series) -> Integers:
    return np.asarray(np.searchsorted(codes.to_numpy(), values.to_numpy()), dtype=np.int64)


def _raw_figures(rows: pl.DataFrame, unreadable: int) -> dict[str, int]:
    """Figures of the file as it stands, comparable with those published for it."""
    cancelled = rows["InvoiceNo"].str.starts_with("C")
    columns = list(COLUMNS)
    return {
        "raw_rows": len(rows) + unreadable,
        "raw_cancellations": int(cancelled.sum()),
        "raw_missing_customer": rows["CustomerID"].null_count(),
        "raw_customers": rows["CustomerID"].drop_nulls().n_unique(),
        "raw_invoices": rows["InvoiceNo"].n_unique(),
        "raw_repeated_rows": len(rows) - rows.select(columns).unique().height,
    }
