"""All passes of a plan through one model, which is built and loaded once; each result is kept when it is there."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import broadcast_object_list, get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import BaseLoop, Runner

from seitpp.engine.checkpointing import scores_beside_average
from seitpp.engine.launch import build_runner
from seitpp.engine.robustness.loaders import loader_of, open_pass
from seitpp.engine.robustness.plan import CLEAN, Pass, Plan
from seitpp.engine.robustness.results import PassResult, Results
from seitpp.engine.runs import metadata_of
from seitpp.io.progress import Advance, progress_bar
from seitpp.io.text import shorten

_METRIC = "seitpp.MatchedAccuracy"


def run_benchmarks(
    config: Config,
    plan: Plan,
    results: Results,
    folder: Path,
    classes: Sequence[str] | None,
    shared: Mapping[str, Any],
) -> None:
    """Run the passes of a plan that have no result yet, and write each result as soon as it is there.

    Changes `results`, on every process alike.

    Args:
        config: Of the classifier, with its checkpoint in `load_from` and a loader of images as `test_dataloader`
            (`use_test_images`).
        plan: What to run.
        results: Of earlier runs of the same checkpoint.
        folder: Where results are written.
        classes: The model's class names, in the order of its indices; None for ImageNet's in the usual order.
        shared: What else scores depend on, plain values, such as the precision.
    """
    runner = build_runner(config, only_tests=True)
    known = [results.passes]
    broadcast_object_list(known)  # of machines that may not share the folder
    results.passes = known[0]
    test = _Test(runner, config.test_dataloader, classes, shared)
    waiting = [one for one in plan.passes if not test.is_done(one, plan, results)]
    if done := [one.key for one in plan.passes if one not in waiting]:
        print_log(f"{folder} has the results of {', '.join(done)}: they are not scored again.", "current")
    if not waiting:
        return
    test.load(waiting[0], plan)
    with progress_bar("robustness", unit="images") as advance:
        num_images = sum(len(test.dataset(one)) for one in waiting)
        runner.register_hook(_ProgressHook(advance, num_images * _tests_per_pass(runner)), priority="LOWEST")
        for one in waiting:
            results.passes[one.key] = found = test.run(one, plan, results)
            print_log(_line(one, found), "current")
            if is_main_process():
                results.write(folder)
    runner.call_hook("after_run")


def _tests_per_pass(runner: Runner) -> int:
    """Return 2 where the weights beside their average are tested, too."""
    hooks = [hook for hook in runner.hooks if hasattr(hook, "evaluate_on_ema")]
    return 2 if any(hook.evaluate_on_ema and hook.evaluate_on_origin for hook in hooks) else 1


class _Test:
    """One runner and the data sets of all passes."""

    def __init__(
        self, runner: Runner, loader: Mapping[str, Any], classes: Sequence[str] | None, shared: Mapping[str, Any]
    ) -> None:
        self.runner, self.loader = runner, dict(loader)
        self.classes = None if classes is None else list(classes)
        self.shared = {**shared, "classes_sha256": _sha256(self.classes)}
        self._datasets: dict[str, Any] = {}

    def dataset(self, one: Pass) -> Any:
        """Return the data set of a pass, opened once."""
        if one.key not in self._datasets:
            self._datasets[one.key] = open_pass(one, self.loader["dataset"], self.classes)
        return self._datasets[one.key]

    def load(self, first: Pass, plan: Plan) -> None:
        """Load the checkpoint, as a test of the first pass would."""
        self.runner._test_loop = self._loop(first, plan)
        self.runner.call_hook("before_run")
        self.runner.load_or_resume()

    def run(self, one: Pass, plan: Plan, results: Results) -> PassResult:
        """Score one pass."""
        self.runner._test_loop = self._loop(one, plan)
        hub = self.runner.message_hub
        for name in [name for name in hub.log_scalars if name.startswith("test/")]:  # of the pass before
            hub.log_scalars.pop(name)
        metrics = self.runner.test_loop.run()
        beside = scores_beside_average(hub, "test/")
        metadata = metadata_of(self.dataset(one))
        found = PassResult(
            self.settings(one, plan),
            {one.benchmark: _scores(metrics, beside, one.benchmark)},
            {one.benchmark: int(metrics[f"{one.benchmark}/num_samples"])},
            metadata.get("num_expected", one.num_expected),
            _convention(metadata, one.candidates),
            _remarks(metadata),
        )
        if one.benchmark == CLEAN:
            for name in self._matched(plan):
                if f"{name}/top1" in metrics:
                    found.scores[name] = _scores(metrics, beside, name)
                    found.counts[name] = int(metrics[f"{name}/num_samples"])
            self._share_clean(one, plan, found)
            if absent := [name for name in self._matched(plan) if name not in found.scores]:
                found.remarks.append(f"no image is of a class of {', '.join(absent)}")
            _add_former(found, results.passes.get(CLEAN))
        return found

    def _share_clean(self, one: Pass, plan: Plan, found: PassResult) -> None:
        """Give the clean score to benchmarks of the same classes and rule."""
        own = self._rule(one)
        for name, rule in self._matched(plan).items():
            if rule == own:
                found.settings.setdefault("matched", {})[name] = _sha256(rule)
                found.scores[name], found.counts[name] = found.scores[CLEAN], found.counts[CLEAN]

    def settings(self, one: Pass, plan: Plan) -> dict[str, Any]:
        """Return all that the scores of a pass depend on beside the checkpoint."""
        dataset = self.dataset(one)
        metadata = metadata_of(dataset)
        found = {
            **self.shared,
            "images_sha256": metadata["images_sha256"],
            "num_images": len(dataset),
            "label_sets_sha256": _sha256(metadata["label_sets"]),
            "tokenizer": metadata.get("tokenizer"),
            "candidates": one.candidates,
            "border": metadata.get("border", 0),
            "corruption": metadata.get("corruption"),
        }
        if one.benchmark == CLEAN:
            found["matched"] = {name: _sha256(rule) for name, rule in self._matched(plan).items()}
        return json.loads(json.dumps(found, default=str))  # as it is read again

    def is_done(self, one: Pass, plan: Plan, results: Results) -> bool:
        """Return whether there is a result of the same settings, and say so where there is one of others."""
        found, wanted = results.passes.get(one.key), self.settings(one, plan)
        if found is None:
            return False
        changed = [name for name in wanted if name != "matched" and wanted[name] != found.settings.get(name)]
        if changed:
            print_log(f"{one.key} is scored again, since these have changed: {', '.join(changed)}.", "current")
        if one.benchmark == CLEAN and not changed:
            self._share_clean(one, plan, found)
        known = found.settings.get("matched") or {}
        new = [name for name, rule in wanted.get("matched", {}).items() if known.get(name) != rule]
        if new and not changed:
            print_log(f"{one.key} is scored again, for the classes of {', '.join(new)}.", "current")
        return not changed and not new

    def _rule(self, one: Pass) -> dict[str, Any]:
        return {"label_sets": metadata_of(self.dataset(one))["label_sets"], "candidates": one.candidates}

    def _matched(self, plan: Plan) -> dict[str, dict[str, Any]]:
        """Return, for each benchmark, the rule by which the clean images of its classes are scored."""
        firsts = {one.benchmark: one for one in reversed(plan.passes) if one.benchmark != CLEAN}
        return {name: self._rule(one) for name, one in firsts.items()}

    def _loop(self, one: Pass, plan: Plan) -> BaseLoop:
        metrics = [{"type": _METRIC, "prefix": one.benchmark, **self._rule(one)}]
        if one.benchmark == CLEAN:
            own = self._rule(one)
            metrics += [
                {"type": _METRIC, "prefix": name, "matched_only": True, **rule}
                for name, rule in self._matched(plan).items()
                if rule != own and _classes_of(rule) & _classes_of(own)
            ]
        # As `Runner.build_test_loop` reads them.
        self.runner._test_dataloader = loader_of(self.dataset(one), self.loader)
        self.runner._test_evaluator = metrics
        return self.runner.build_test_loop(dict(self.runner.cfg.test_cfg))


def _classes_of(rule: Mapping[str, Any]) -> set[int]:
    """Return the model's classes that are right for some label."""
    return {index for right in rule["label_sets"] for index in right}


def _convention(metadata: Mapping[str, Any], candidates: str) -> str:
    """Return the rule of a score in words, with what an option may change."""
    border = metadata.get("border", 0)
    competing = "these alone compete" if candidates == "matched" else "all of the model's classes compete"
    return f"{metadata['convention']}; {competing}" + (f"; {border} pixels cut on each side" if border else "")


def _remarks(metadata: Mapping[str, Any]) -> list[str]:
    """Return what is not as expected of a data set."""
    remarks = list(metadata["remarks"])
    if endings := metadata.get("skipped_files"):
        remarks.append(f"not taken for images: {shorten(f'{count} {ending}' for ending, count in endings.items())}")
    return remarks


def _scores(metrics: Mapping[str, float], beside: Mapping[str, float], name: str) -> dict[str, float]:
    """Return top-1 by the weights that were tested."""
    key = f"{name}/top1"
    raw = beside.get(f"{key}_origin")
    return {"model": metrics[key]} if raw is None else {"average": metrics[key], "raw": raw}


def _add_former(found: PassResult, former: PassResult | None) -> None:
    """Add the clean scores for benchmarks of earlier runs, if all else is the same."""
    if former is None or any(
        former.settings.get(key) != found.settings[key] for key in found.settings.keys() - {"matched"}
    ):
        return
    rules = former.settings.get("matched") or {}
    for name in rules.keys() - found.settings["matched"].keys():
        found.settings["matched"][name] = rules[name]
        if name in former.scores:
            found.scores[name], found.counts[name] = former.scores[name], former.counts[name]


def _line(one: Pass, found: PassResult) -> str:
    scores = ", ".join(
        f"{score:.2f} %{'' if weights == 'model' else f' ({weights})'}"
        for weights, score in found.scores[one.benchmark].items()
    )
    return f"{one.key}: top-1 {scores} of {found.counts[one.benchmark]:,} images"


class _ProgressHook(Hook):
    """Counts images over all passes, those of the weights beside an average again."""

    def __init__(self, advance: Advance, total: int) -> None:
        self._advance, self._total, self._done = advance, total, 0
        advance(0, total)

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Count a batch, on all processes alike."""
        self._done = min(self._done + len(outputs) * get_world_size(), self._total)
        self._advance(self._done, self._total)


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
