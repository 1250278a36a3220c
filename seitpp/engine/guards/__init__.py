"""Hooks that stop a run where it would train, score or save the wrong thing, before it does."""

from seitpp.engine.guards.checkpoint import CheckpointGuardHook
from seitpp.engine.guards.classes import ClassGuardHook
from seitpp.engine.guards.data import DataGuardHook
from seitpp.engine.guards.finite import FiniteGuardHook

__all__ = ["CheckpointGuardHook", "ClassGuardHook", "DataGuardHook", "FiniteGuardHook"]
