"""Child registries, scope `seitpp`, of every mmengine registry.

A config with `default_scope = "seitpp"`, or a type written `seitpp.X` in any other project's config, finds our parts
here; the module that defines a part is imported when its registry is first searched, not when `seitpp` is imported.
mmengine warns at every build in a tree that has no child of the scope, so all trees have one.

With this module imported mmengine also finds configs named `seitpp::seitpp/mtm_vitb.py`, as bases and in its hub.
"""

import mmengine.registry as root
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.registry import Registry

MODULE2PACKAGE.setdefault("seitpp", "seitpp")


def _child(name: str, *locations: str) -> Registry:
    parent = getattr(root, name)
    return Registry(parent.name, parent=parent, scope="seitpp", locations=list(locations))


MODELS = _child("MODELS", "seitpp.models", "seitpp.tokenizers", "seitpp.token_pairs")
# Tokenizers are models. A registry of their own under MODELS would not be found: a build in a default scope looks for
# the root's child of that scope, and that is MODELS.
TOKENIZERS = MODELS
MODEL_WRAPPERS = _child("MODEL_WRAPPERS", "seitpp.models")
WEIGHT_INITIALIZERS = _child("WEIGHT_INITIALIZERS", "seitpp.models")

DATASETS = _child("DATASETS", "seitpp.datasets", "seitpp.token_pairs")
DATA_SAMPLERS = _child("DATA_SAMPLERS", "seitpp.datasets")
FUNCTIONS = _child("FUNCTIONS", "seitpp.datasets")
TRANSFORMS = _child("TRANSFORMS", "seitpp.augment")

METRICS = _child("METRICS", "seitpp.evaluation")
EVALUATOR = _child("EVALUATOR", "seitpp.evaluation")

HOOKS = _child("HOOKS", "seitpp.engine")
LOOPS = _child("LOOPS", "seitpp.engine")
RUNNERS = _child("RUNNERS", "seitpp.engine")
RUNNER_CONSTRUCTORS = _child("RUNNER_CONSTRUCTORS", "seitpp.engine")
LOG_PROCESSORS = _child("LOG_PROCESSORS", "seitpp.engine")
OPTIMIZERS = _child("OPTIMIZERS", "seitpp.engine")
OPTIM_WRAPPERS = _child("OPTIM_WRAPPERS", "seitpp.engine")
OPTIM_WRAPPER_CONSTRUCTORS = _child("OPTIM_WRAPPER_CONSTRUCTORS", "seitpp.engine")
PARAM_SCHEDULERS = _child("PARAM_SCHEDULERS", "seitpp.engine")
TASK_UTILS = _child("TASK_UTILS", "seitpp.engine")
VISBACKENDS = _child("VISBACKENDS", "seitpp.engine")
VISUALIZERS = _child("VISUALIZERS", "seitpp.engine")
STRATEGIES = _child("STRATEGIES", "seitpp.engine")
INFERENCERS = _child("INFERENCERS", "seitpp.apis")
