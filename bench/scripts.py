"""The two scripts that are measured, and the surroundings that all sides share."""

import os

TRIVIAL = 'def main():\n    return {"ok": 1}\n'
PANDAS = """import pandas as pd

def main():
    series = pd.Series([1, 2, 3, 4, 5])
    print("len:", len(series))
    return {"sum": int(series.sum()), "mean": float(series.mean())}
"""

SCRIPTS = {"trivial": TRIVIAL, "pandas": PANDAS}
RESULTS = {"trivial": {"ok": 1}, "pandas": {"sum": 15, "mean": 3.0}}
OUTPUTS = {"trivial": "", "pandas": "len: 5\n"}


def environment():
    """One thread for each BLAS pool, on every side: a pool in the warm interpreter would make its forks dearer."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("VIVARY_") and name not in ("PORT", "PYTHONPATH", "PYTHONHOME")}
    kept.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", PYTHONDONTWRITEBYTECODE="1")
    return kept


def quantile(values, part):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]
