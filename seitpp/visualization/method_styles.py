"""Mark and colour of each method, the same in every chart."""

from collections.abc import Iterable

# Marks and colours of Okabe and Ito, which differ for every kind of colour vision.
_STYLES = {
    "pixels": ("s", "#4d4d4d"),
    "SeiT": ("o", "#0072B2"),
    "SeiT w/ MTM": ("D", "#56B4E9"),
    "SeiT++": ("^", "#D55E00"),
    "SeiT++ w/ MTM": ("P", "#009E73"),
    "pixels, SeiT's stem": ("p", "#882255"),
    "SeiT w/ MTM, SeiT's stem": ("<", "#000000"),
    "SeiT++ w/ MTM, SeiT's stem": ("v", "#CC79A7"),
    "codes from scratch": (">", "#999933"),
    "codes from scratch, SeiT's stem": ("X", "#E69F00"),
}
_OTHER_STYLES = (
    ("h", "#332288"),
    ("d", "#117733"),
    ("*", "#AA4499"),
    ("8", "#661100"),
    ("H", "#6699CC"),
    ("1", "#888888"),
)
_WITHOUT_MTM = " w/o MTM"  # says of a method that it is the plain one


def method_styles(methods: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Return matplotlib's marker and colour by method: those that have their own first, in a fixed order, then others.

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
