"""What training needs beside mmengine: seeds, checks, the schedule, bfloat16, and launching on any device."""

from seitpp.engine.hooks import CheckpointGuardHook, DataGuardHook, StepSeedHook
from seitpp.engine.optim_wrapper import AutocastOptimWrapper
from seitpp.engine.schedulers import WarmupCosineLR

__all__ = ["AutocastOptimWrapper", "CheckpointGuardHook", "DataGuardHook", "StepSeedHook", "WarmupCosineLR"]
