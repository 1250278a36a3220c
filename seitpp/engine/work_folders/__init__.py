"""Work folders of finished runs: which there are, what each was, what it trained on and how it scored."""

from seitpp.engine.work_folders.comparison import Comparison, Entry, compare_runs
from seitpp.engine.work_folders.data_bytes import DataPlaces
from seitpp.engine.work_folders.finding import find_work_folders
from seitpp.engine.work_folders.measuring import TrainingData
from seitpp.engine.work_folders.scores import Score

__all__ = ["Comparison", "DataPlaces", "Entry", "Score", "TrainingData", "compare_runs", "find_work_folders"]
