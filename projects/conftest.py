"""Tests of projects share with those of the package that each begins in a clean process."""

from helpers.process import clean_process  # noqa: F401 (a fixture of every test)
