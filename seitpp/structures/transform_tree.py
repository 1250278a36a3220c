"""Find all transforms in a list of augmentations, also those inside of others."""

from collections.abc import Iterable, Iterator

from mmcv.transforms import Compose


def walk(transforms: Iterable) -> Iterator:
    """Yield all transforms, each composite before its own.

    Args:
        transforms: A `Compose` or other iterable of transforms. A composite has its own in the list `children`.
    """
    for transform in transforms.transforms if isinstance(transforms, Compose) else transforms:
        if isinstance(transform, Compose):
            yield from walk(transform)
            continue
        yield transform
        children = getattr(transform, "children", None)
        if isinstance(children, (list, tuple)):  # torch's modules have a method of that name
            yield from walk(children)
