"""How well a linear classifier tells the classes of features apart (SeiT++, A.1)."""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

_FOLDS = 5
_ITERATIONS = 2000


def linear_separability(features: np.ndarray, labels: np.ndarray, groups: np.ndarray, seed: int = 0) -> float:
    """Return the accuracy of logistic regression on features it was not fitted to, in per cent.

    Folds (5, or as many as the smallest class has groups) are drawn of whole groups, so that no point is judged by a
    fit to another draw of its own sample. Channels are scaled to deviation 1 by the points of the fit; the penalty is
    scikit-learn's default.

    Args:
        features: (N, C).
        labels: Class of each point, (N,).
        groups: Sample that each point is a draw of, (N,); each class has two at least.
        seed: Of the folds.
    """
    smallest = min(len(np.unique(groups[labels == label])) for label in np.unique(labels))
    folds = StratifiedGroupKFold(min(_FOLDS, smallest), shuffle=True, random_state=seed)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=_ITERATIONS))
    return 100 * float((cross_val_predict(model, features, labels, groups=groups, cv=folds) == labels).mean())
