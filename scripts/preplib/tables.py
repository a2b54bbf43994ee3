"""Tables: files of many kinds become a frame of texts and numbers, and its columns become inputs
and targets by a recipe, which is made from the training file and used again for others."""

import csv
import gzip
import io
import re

import numpy as np

from preplib import PrepareError

MISSING = ["", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "?", "-"]
MOST_CATEGORIES = 50
FEW = 20  # different whole numbers of a target that are taken for classes
LARGEST = float(np.finfo("f4").max)
SUFFIXES = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".parquet", ".xlsx", ".xls", ".ods")


# ---- files ----

def decode(path, encoding):
    """(text, how it was encoded) of a file, .gz or not."""
    raw = gzip.open(path).read() if str(path).endswith(".gz") else path.read_bytes()
    marks = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig"}
    found = next((name for mark, name in marks.items() if raw.startswith(mark)), "utf-8")
    for name in [encoding] if encoding else [found, "cp1252"]:
        try:
            return raw.decode(name), name
        except (UnicodeDecodeError, LookupError) as error:
            failed = error
    raise PrepareError(f"{path}: not a text in {encoding or 'UTF-8 or Windows-1252'} ({failed}): give "
                       "--encoding")


def find_separator(lines):
    """The one of , ; TAB | that all lines have, most often."""
    def count(line, mark):
        return len(next(csv.reader([line], delimiter=mark), [])) - 1
    counts = {mark: min(count(line, mark) for line in lines) for mark in ",;\t|"}
    best = max(counts, key=counts.get)
    return best if counts[best] > 0 else ","


def is_number(text, decimal="."):
    pattern = r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?" if decimal == "." else \
        r"[-+]?(\d{1,3}(\.\d{3})+|\d+)?(,\d+)?"
    return bool(text) and re.fullmatch(pattern, text) is not None and any(c.isdigit() for c in text)


def find_decimal(path, rows):
    """What most cells say: 1,5, as in German and French, or 1.5; None where none does. 1.234 may be a thousand."""
    cells = [cell for row in rows for cell in row]
    comma = sum(bool(re.fullmatch(r"[-+]?\d[\d.]*,\d+", cell)) for cell in cells)
    point = sum(bool(re.fullmatch(r"[-+]?\d+\.\d+", cell)) and not re.fullmatch(r"[-+]?\d{1,3}(\.\d{3})+", cell)
                for cell in cells)
    if comma and comma == point:
        raise PrepareError(f"{path}: as many cells have a decimal comma as a point: give --decimal")
    return "," if comma > point else "." if point else None


def read_text(pandas, path, args, usual, say):
    text, encoding = decode(path, args.encoding)
    lines = [line for line in text.splitlines()[:200] if line.strip()]
    if not lines:
        raise PrepareError(f"{path}: is empty")
    separator = args.sep or find_separator(lines[:20])
    rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=separator)]
    twice = next((name for k, name in enumerate(rows[0]) if name in rows[0][:k]), None)
    found = None if args.decimal or separator == "," else find_decimal(path, rows[1:])
    decimal = args.decimal or found or (usual if separator != "," else ".")
    header = not args.no_header and not all(is_number(cell, decimal) for cell in rows[0])
    say(f"{path}: {encoding}, separated by {'TAB' if separator == chr(9) else separator}, decimal "
        f"{'comma' if decimal == ',' else 'point'}, {'a' if header else 'no'} header line")
    if header and twice is not None:
        raise PrepareError(f"{path}: two columns are named '{twice}'")
    longer = next((row for row in rows[1:] if header and any(row[len(rows[0]):])), None)
    if longer:
        raise PrepareError(f"{path}: a row has {len(longer)} cells, but the first line has names for {len(rows[0])}")
    try:
        frame = pandas.read_csv(io.StringIO(text), sep=separator, header=0 if header else None, dtype=str,
                                keep_default_na=False, skipinitialspace=True, index_col=False)
    except ValueError as error:
        raise PrepareError(f"{path}: {str(error).strip().splitlines()[0]}") from None
    if not header:
        frame.columns = [f"c{k}" for k in range(frame.shape[1])]
    return frame, decimal


def read_file(path, args, usual, say):
    """(frame of texts, numbers or dates as they are in the file, its decimal mark; usual: where it does not tell)"""
    try:
        import pandas
    except ImportError:
        raise PrepareError("tables need pandas: install python3-pandas") from None
    if not path.exists():
        raise PrepareError(f"{path}: no such file")
    if str(path).lower().endswith((".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz")):
        return read_text(pandas, path, args, usual, say)
    read = pandas.read_parquet if path.suffix == ".parquet" else pandas.read_excel
    try:
        return read(path), "."
    except ImportError as error:
        raise PrepareError(f"{path}: pandas lacks a package for it: {error}".replace("\n", " ")) from None


def clean(frame, decimal, day_first, recipe):
    """Each column as floats, as dates, or as texts, with NaN or None where a cell is missing. day_first: of dates
    like 5/3/2020, None: found. With a recipe its texts stay texts."""
    import pandas
    steps = {step["column"]: step for step in recipe["inputs"] + recipe["targets"]} if recipe else {}
    columns, orders = {}, {}
    for name in frame.columns:
        column, step = frame[name], steps.get(str(name), {})
        if pandas.api.types.is_datetime64_any_dtype(column):
            columns[str(name)] = column if column.dt.tz is None else column.dt.tz_convert(None)
        elif pandas.api.types.is_numeric_dtype(column):
            columns[str(name)] = column.astype(float)
        else:
            texts = pandas.Series([None if v is None or v != v or str(v).strip() in MISSING else str(v).strip()
                                   for v in column], dtype=object)
            columns[str(name)], orders[str(name)] = (texts, None) if step.get("kind") == "text" else \
                as_numbers(pandas, texts, decimal, step.get("day_first", day_first))
    cleaned = pandas.DataFrame(columns)
    cleaned.attrs["day_first"] = orders
    return cleaned


def number_name(value):
    """A number as the name of a class or category."""
    return str(int(value)) if value == int(value) else repr(float(value))


def as_dates(pandas, texts, day_first):
    """(dates, day_first) or None. Of 5/3/2020 either number may be the day: what fits all cells, else the month
    comes first."""
    known = texts.dropna()
    if known.str.fullmatch(r"\d{1,2}([/.-])\d{1,2}\1\d{4}.*").all():
        if day_first is None:
            first = known.str.extract(r"^(\d{1,2})[/.-](\d{1,2})")
            day_first = bool((first[0].astype(int) > 12).any() or known.str.match(r"\d{1,2}\.").all())
        form = "%d/%m/%Y" if day_first else "%m/%d/%Y"
        dates = pandas.to_datetime(texts.str.replace(r"[.-]", "/", n=2, regex=True), format=form, errors="coerce",
                                   exact=False)
    else:
        day_first = None
        dates = pandas.to_datetime(texts, errors="coerce", utc=True).dt.tz_localize(None)
    return (dates, day_first) if dates.notna().sum() == len(known) else None


def as_numbers(pandas, texts, decimal, day_first):
    """(numbers, dates or the texts as they are, and of dates day_first)"""
    known = texts.dropna()
    if len(known) and all(is_number(v, decimal) for v in known):
        if decimal == ",":
            texts = texts.str.replace(".", "", regex=False).str.replace(",", ".", regex=False)
        return texts.astype(float), None
    if len(known) and set(known.str.lower()) <= {"true", "false"}:
        return texts.map(lambda v: np.nan if v is None else float(v.lower() == "true")), None
    if len(known) and known.str.contains(r"\d", regex=True).all() and \
            known.str.contains(r"\d[-/.:]\d", regex=True).all():
        if known.str.fullmatch(r"\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?").all():  # a time of day, in seconds
            return pandas.to_timedelta(texts.map(lambda v: f"{v}:00" if v and v.count(":") == 1 else v)) \
                .dt.total_seconds(), None
        return as_dates(pandas, texts, day_first) or (texts, None)
    return texts, None


# ---- the recipe ----

def kind_of(column):
    if str(column.dtype).startswith("datetime"):
        return "date"
    return "number" if column.dtype.kind in "biuf" else "text"


def category_names(name, column, args):
    names = sorted(column.dropna().unique())
    if len(names) > MOST_CATEGORIES:
        raise PrepareError(f"column '{name}' has {len(names)} different texts ('{names[0]}', ...), too many "
                           f"for categories: leave it out with --exclude '{name}'")
    return names


def filling(column, how):
    """What a missing cell becomes; None: rows with one are dropped."""
    known = column.dropna()
    if how == "drop" or len(known) == 0:
        return None
    if kind_of(column) == "text" or how == "most_frequent":
        value = known.mode()[0]
        return value if kind_of(column) == "text" else float(value)
    return float(known.mean() if how == "mean" else known.median())


def input_recipe(name, column, args):
    """The recipe of one column."""
    kind, missing = kind_of(column), int(column.isna().sum())
    step = {"column": name, "kind": kind}
    if missing == len(column):
        raise PrepareError(f"column '{name}' is empty: leave it out with --exclude '{name}'")
    if kind == "text":
        step["categories"], step["as"] = category_names(name, column, args), args.categories
    if missing and not args.missing:
        raise PrepareError(f"column '{name}' has {missing} missing cells of {len(column)}: say what becomes "
                           "of them: --missing drop, mean, median or most_frequent, perhaps with --indicator")
    if missing:
        step["fill"] = filling(days(column) if kind == "date" else column, args.missing)
        step["indicator"] = args.indicator and args.missing != "drop"
    return step


def days(column):
    """Dates as days since 1970."""
    return (column - np.datetime64(0, "ns")) / np.timedelta64(1, "D")


def target_recipe(name, column, alone, args):
    kind, known = kind_of(column), column.dropna()
    if len(known) == 0:
        raise PrepareError(f"the target '{name}' is empty")
    different = known.unique()
    whole = alone and kind == "number" and (known == known.round()).all() and len(different) <= FEW
    classes = args.task == "classes" or (args.task == "auto" and (kind == "text" or whole))
    if not classes:
        if kind == "text":
            raise PrepareError(f"the target '{name}' holds texts ('{different[0]}', ...): --task classes")
        values = days(known) if kind == "date" else known
        step = {"column": name, "kind": kind, "mean": 0.0, "std": 1.0}
        if args.scale_target:
            step.update(mean=float(values.mean()), std=float(values.std(ddof=0)) or 1.0)
        return step
    names = sorted(different) if kind == "text" else [number_name(v) for v in sorted(different)]
    if len(names) > 1000 or len(names) > max(FEW, len(known) // 2):
        raise PrepareError(f"the target '{name}' has {len(names)} different values: no classes; --target says "
                           "which column it is, --task values that it is a number")
    return {"column": name, "kind": kind, "classes": names}


def make_recipe(frame, args):
    names = list(frame.columns)
    targets = [name.strip() for name in args.target.split(",")] if args.target else names[-1:]
    exclude = [name.strip() for name in args.exclude.split(",")] if args.exclude else []
    for name in targets + exclude:
        if name not in names:
            raise PrepareError(f"there is no column '{name}'; there are {', '.join(names)}")
    index = [name for name in names[:1] if name in ("", "Unnamed: 0")]
    inputs = [name for name in names if name not in targets + exclude + index]
    if not inputs:
        raise PrepareError("no column is left to predict from")
    recipe = {"inputs": [input_recipe(name, frame[name], args) for name in inputs],
              "targets": [target_recipe(name, frame[name], len(targets) == 1, args) for name in targets],
              "left_out": exclude + index}
    for step in recipe["inputs"] + recipe["targets"]:
        if frame.attrs["day_first"].get(step["column"]) is not None:
            step["day_first"] = frame.attrs["day_first"][step["column"]]
    classes = [step for step in recipe["targets"] if "classes" in step]
    if classes and len(targets) > 1:
        raise PrepareError(f"several targets must be numbers, but '{classes[0]['column']}' is one of classes")
    return recipe


# ---- applying it ----

def apply_input(step, column, name_of):
    """(names, arrays of one column each, rows that are good)"""
    name, kind = step["column"], step["kind"]
    if kind_of(column) != kind and not column.isna().all():
        if kind == "text":
            column = column.map(lambda v: None if v != v else number_name(v) if isinstance(v, float) else str(v))
        else:
            known = column.dropna()
            bad = next((v for v in known if kind == "number" and not is_number(str(v))),
                       known.iloc[0])
            raise PrepareError(f"{name_of}: column '{name}' holds '{bad}', but the recipe takes it for a {kind}")
    gone = column.isna().to_numpy()
    values = days(column) if kind == "date" else column
    if step.get("fill") is not None:
        values = values.where(~column.isna(), step["fill"])
    good = values.notna().to_numpy()
    extra = ([f"{name} missing"], [gone.astype(float)]) if step.get("indicator") else ([], [])
    if kind != "text":
        return [name, *extra[0]], [values.astype(float).to_numpy(), *extra[1]], good
    codes = values.map({v: k for k, v in enumerate(step["categories"])})
    unknown = values[values.notna() & codes.isna()]
    if len(unknown):
        raise PrepareError(f"{name_of}: column '{name}' holds '{unknown.iloc[0]}', which the recipe's file has not")
    codes = codes.to_numpy(float)
    if step["as"] == "codes":
        return [name, *extra[0]], [codes, *extra[1]], good
    return ([f"{name}={v}" for v in step["categories"]] + extra[0],
            [(codes == k).astype(float) for k in range(len(step["categories"]))] + extra[1], good)


def apply_target(step, column, name_of):
    """(values, rows that are good)"""
    if "classes" not in step:
        values = (days(column) if step["kind"] == "date" else column).astype(float).to_numpy()
        return (values - step["mean"]) / step["std"], ~np.isnan(values)
    texts = column if step["kind"] == "text" else column.map(lambda v: None if v != v else number_name(v))
    codes = texts.map({v: k for k, v in enumerate(step["classes"])})
    unknown = texts[texts.notna() & codes.isna()]
    if len(unknown):
        raise PrepareError(f"{name_of}: the target '{step['column']}' is '{unknown.iloc[0]}', which is none of "
                           "the recipe's classes")
    return codes.to_numpy(float), codes.notna().to_numpy()


def apply(recipe, frame, name_of, say):
    """{x, y (None: no target there), columns, targets, classes} of a frame."""
    names, arrays, good = [], [], np.ones(len(frame), bool)
    for step in recipe["inputs"]:
        if step["column"] not in frame.columns:
            raise PrepareError(f"{name_of}: there is no column '{step['column']}', which the recipe needs")
        more, values, fine = apply_input(step, frame[step["column"]], name_of)
        names += more
        arrays += values
        good &= fine
    there = [step for step in recipe["targets"] if step["column"] in frame.columns and
             not frame[step["column"]].isna().all()]
    known = len(there) == len(recipe["targets"])
    y = []
    for step in there if known else []:
        values, fine = apply_target(step, frame[step["column"]], name_of)
        y.append(values)
        good &= fine
    if not good.all():
        say(f"{name_of}: {len(good) - good.sum()} of {len(good)} rows dropped: a cell is missing")
    if not good.any():
        raise PrepareError(f"{name_of}: no row is left")
    for name, values in zip(names + [step["column"] for step in there], arrays + y):
        if (np.abs(values[good]) > LARGEST).any():
            raise PrepareError(f"{name_of}: column '{name}' holds {np.abs(values[good]).max():g}, which is no number "
                               "of float32")
    x = np.stack(arrays, 1)[good].astype("f4")
    return {"x": x, "y": np.stack(y, 1)[good] if known else None, "columns": names,
            "targets": [step["column"] for step in recipe["targets"]],
            "classes": recipe["targets"][0].get("classes")}


def tell(recipe, say):
    """Column by column."""
    for step in recipe["inputs"]:
        text = step["kind"]
        if step["kind"] == "date":
            text = "date: days since 1970-01-01" + {
                None: "", True: "; the day comes first", False: "; the month comes first (--day-first: the day)"}[
                step.get("day_first")]
        if step["kind"] == "text":
            shown = ", ".join(step["categories"][:5]) + ", ..." * (len(step["categories"]) > 5)
            text = f"{len(step['categories'])} categories ({shown}) as " + \
                ("one column each, 0 or 1" if step["as"] == "onehot" else "codes from 0")
        if "fill" in step:
            text += "; rows where it is missing are dropped" if step["fill"] is None else \
                f"; where it is missing, {step['fill'] if isinstance(step['fill'], str) else format(step['fill'], 'g')}"
        say(f"  {step['column']:20s} {text}{', and a column that says so' if step.get('indicator') else ''}")
    for name in recipe["left_out"]:
        say(f"  {name or '(no name)':20s} left out")
    for step in recipe["targets"]:
        if "classes" in step:
            text = f"{len(step['classes'])} classes: {', '.join(step['classes'][:10])}" + \
                ", ..." * (len(step["classes"]) > 10)
        elif (step["mean"], step["std"]) != (0, 1):
            text = f"a number, scaled: ({step['column']} - {step['mean']:g}) / {step['std']:g}"
        else:
            text = "a number"
        say(f"  {step['column']:20s} target: {text}")
