"""What training needs beside mmengine: seeds, checks, the schedule, bfloat16, and launching on any device."""

from seitpp.engine.accumulation import StepTrainLoop
from seitpp.engine.adversarial_optim import AdversarialOptimWrapperConstructor, JointOptimWrapper
from seitpp.engine.averaging import StepEMAHook
from seitpp.engine.checkpointing import WholeCheckpointHook
from seitpp.engine.compiling import CompileHook
from seitpp.engine.guards import CheckpointGuardHook, ClassGuardHook, DataGuardHook, FiniteGuardHook
from seitpp.engine.image_hooks import ReconstructionImageHook, SegmentationImageHook
from seitpp.engine.knn_bank import KNNBankHook
from seitpp.engine.late_scalars import LateRuntimeInfoHook
from seitpp.engine.log_processor import TableLogProcessor
from seitpp.engine.norm_statistics import SyncNormStatisticsHook
from seitpp.engine.optim_wrapper import AutocastOptimWrapper, LateOptimWrapper
from seitpp.engine.prediction_hook import PredictionHook
from seitpp.engine.run_summary import RunSummaryHook
from seitpp.engine.schedulers import WarmupCosineLR
from seitpp.engine.sharding import BlockFSDPStrategy
from seitpp.engine.step_seed_hook import StepSeedHook

__all__ = [
    "AdversarialOptimWrapperConstructor",
    "AutocastOptimWrapper",
    "BlockFSDPStrategy",
    "CheckpointGuardHook",
    "ClassGuardHook",
    "CompileHook",
    "DataGuardHook",
    "FiniteGuardHook",
    "JointOptimWrapper",
    "KNNBankHook",
    "LateOptimWrapper",
    "LateRuntimeInfoHook",
    "PredictionHook",
    "ReconstructionImageHook",
    "RunSummaryHook",
    "SegmentationImageHook",
    "StepEMAHook",
    "StepSeedHook",
    "StepTrainLoop",
    "SyncNormStatisticsHook",
    "TableLogProcessor",
    "WarmupCosineLR",
    "WholeCheckpointHook",
]
