"""Mark and colour of each method, the same in every chart."""

from collections.abc import Iterable

# Marks and colours of Okabe and Ito, which differ for every kind of colour vision.
_STYLES = {
    "pixels": ("s", "#4d4d4d"),
    "SeiT": ("o", "#0072B2"),
    "SeiT w/ MTM": ("D", "#56B4E9"),
    "SeiT++": ("^", "#D55E00"),
    "SeiT++ w/ MTM": ("P", "#009E73"),
}
_OTHER_STYLES = (
    ("v", "#CC79A7"),
    ("X", "#E69F00"),
    ("<", "#000000"),
    (">", "#999933"),
    ("p", "#882255"),
    ("h", "#332288"),
)
_WITHOUT_MTM = " w/o MTM"  # says of a method that it is the plain one


def method_styles(methods: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Return matplotlib's marker and colour by method: those of SeiT and SeiT++ first, in a fixed order, then others.

    `X w/o MTM` looks like `X`. More than six methods of other names share styles.
    """
    known, others = {}, []
    for method in dict.fromkeys(methods):
        plain = method.removesuffix(_WITHOUT_MTM)
        if plain in _STYLES:
            known[method] = _STYLES[plain]
        else:
            others.append(method)
    order = list(_STYLES.values())
    named = dict(sorted(known.items(), key=lambda pair: order.index(pair[1])))
    return named | {method: _OTHER_STYLES[number % len(_OTHER_STYLES)] for number, method in enumerate(sorted(others))}
