"""One look per method in every chart."""

from seitpp.visualization.method_styles import method_styles


def test_methods_keep_their_look_whatever_is_beside_them() -> None:
    found = method_styles(["b", "SeiT++ w/ MTM", "a", "SeiT++ w/o MTM", "pixels"])
    assert list(found) == ["pixels", "SeiT++ w/o MTM", "SeiT++ w/ MTM", "a", "b"]
    assert len(set(found.values())) == len(found)
    assert found["SeiT++ w/o MTM"] == method_styles(["SeiT++"])["SeiT++"]


def test_many_other_methods_share_looks() -> None:
    found = method_styles([f"method {number}" for number in range(8)])
    assert len(found) == 8 and len(set(found.values())) == 6
