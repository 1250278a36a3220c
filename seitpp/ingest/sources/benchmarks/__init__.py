"""Layouts and label rules of the sets that robustness is measured on."""

from seitpp.ingest.sources.benchmarks.base import BenchmarkSource
from seitpp.ingest.sources.benchmarks.opening import BENCHMARKS, open_benchmark

__all__ = ["BENCHMARKS", "BenchmarkSource", "open_benchmark"]
