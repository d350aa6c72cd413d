"""The JSON form of what a script returns to /v1/run: docs/api.md has the table."""

import datetime
import decimal
import json
import math
import sys
import uuid

from . import encoder

DEPTH_MAX = 200  # of what must be converted; what json knows by itself may be deeper

_encode = encoder.prepared(ensure_ascii=False)
_encode_ascii = encoder.prepared(ensure_ascii=True)


class NotJson(Exception):
    """Says which part of the value has no JSON form."""


def to_json(value):
    """The bytes of its JSON. Most values json knows by itself, in C; only where it doesn't is the value walked."""
    try:
        text = _encode(value)
    except (TypeError, ValueError, RecursionError, OverflowError):
        text = None
    if text is None:
        try:
            value = _Converter().convert(value, "$", 0)
            text = _encode(value)
        except (TypeError, ValueError, RecursionError, OverflowError) as error:
            raise NotJson(f"$: {error}") from None
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:  # half of a surrogate pair: JSON can say it only escaped
        return _encode_ascii(value).encode("ascii")


class _Converter:
    def __init__(self):
        self.around = set()  # ids of the containers that the walk is inside of
        self.numpy = sys.modules.get("numpy")
        self.pandas = sys.modules.get("pandas")

    def convert(self, value, path, depth):
        kind = type(value)
        if value is None or kind is bool or kind is int or kind is str:
            return value
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else None
        if isinstance(value, (str, int)):
            return value
        if depth >= DEPTH_MAX:
            raise NotJson(f"{path}: is nested too deeply")
        if isinstance(value, dict):
            return self._inside(value, path, lambda: {
                self._key(key, path): self.convert(item, f"{path}.{_short(key)}", depth + 1) for key, item in value.items()})
        if isinstance(value, (list, tuple)):
            return self._inside(value, path, lambda: [self.convert(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(value)])
        found = self._of_pandas(value, path, depth)
        if found is None:
            found = self._of_numpy(value, path, depth)
        if found is None:
            found = self._of_library(value)
        if found is None:
            raise NotJson(f"{path}: Object of type {kind.__name__} is not JSON serializable")
        return found[0]

    def _inside(self, value, path, make):
        if id(value) in self.around:
            raise NotJson(f"{path}: contains itself")
        self.around.add(id(value))
        made = make()
        self.around.discard(id(value))
        return made

    def _key(self, key, path):
        if isinstance(key, str):
            return key
        if key is None or isinstance(key, (bool, int, float)):
            return key
        numpy = self.numpy
        if numpy is not None and isinstance(key, numpy.generic):
            return self._key(key.item(), path)
        if isinstance(key, (datetime.date, datetime.time)):
            return key.isoformat()
        if isinstance(key, (decimal.Decimal, uuid.UUID)):
            return str(key)
        raise NotJson(f"{path}: has a key of type {type(key).__name__}; keys are strings, numbers, booleans, None or dates")

    # What these return is a tuple of one, for None is a value as well.

    def _of_library(self, value):
        if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
            return (value.isoformat(),)
        if isinstance(value, datetime.timedelta):
            return (value.total_seconds(),)
        if isinstance(value, (decimal.Decimal, uuid.UUID)):
            return (str(value),)
        return None

    def _of_numpy(self, value, path, depth):
        numpy = self.numpy
        if numpy is None:
            return None
        if isinstance(value, numpy.datetime64):
            return (None if numpy.isnat(value) else str(value),)
        if isinstance(value, numpy.timedelta64):
            return (None if numpy.isnat(value) else value / numpy.timedelta64(1, "s"),)
        if isinstance(value, numpy.generic):
            plain = value.item()
            return None if isinstance(plain, numpy.generic) else (self.convert(plain, path, depth + 1),)
        if isinstance(value, numpy.ndarray):
            if value.dtype.kind in "mM" and value.ndim == 0:
                return (self.convert(value[()], path, depth + 1),)
            if value.dtype.kind in "mM":
                return (self.convert(list(value), path, depth + 1),)
            return (self.convert(value.tolist(), path, depth + 1),)
        return None

    def _of_pandas(self, value, path, depth):
        pandas = self.pandas
        if pandas is None:
            return None
        if value is pandas.NaT or value is getattr(pandas, "NA", None):
            return (None,)
        if isinstance(value, pandas.Timedelta):
            return (value.total_seconds(),)
        if isinstance(value, pandas.DataFrame):
            if not value.columns.is_unique:
                raise NotJson(f"{path}: is a DataFrame with a column name twice")
            return (self.convert(value.to_dict("records"), path, depth + 1),)
        if isinstance(value, (pandas.Series, pandas.Index)):
            return (self.convert(value.tolist(), path, depth + 1),)
        if isinstance(value, (pandas.Period, pandas.Interval)):
            return (str(value),)
        if isinstance(value, pandas.Categorical):
            return (self.convert(list(value), path, depth + 1),)
        return None


def _short(key):
    text = str(key)
    return text if len(text) <= 40 else text[:40] + "..."
