"""Transforms inside of transforms: finding all of them in a list of augmentations."""

from collections.abc import Iterable, Iterator

from mmcv.transforms import Compose


def walk(transforms: Iterable) -> Iterator:
    """All transforms, also those inside of composites, each composite before what it holds.

    Args:
        transforms: A `Compose` or other iterable of transforms. A composite offers its own as the list `children`.
    """
    for transform in transforms.transforms if isinstance(transforms, Compose) else transforms:
        if isinstance(transform, Compose):
            yield from walk(transform)
            continue
        yield transform
        children = getattr(transform, "children", None)
        if isinstance(children, (list, tuple)):  # torch's modules have a method of that name
            yield from walk(children)
