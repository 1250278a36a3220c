"""Which of many samples are looked at."""


def spread(total: int, count: int) -> list[int]:
    """Return at most `count` numbers, evenly spread over 0..total-1."""
    total = int(total)
    count = min(count, total)
    return [index * total // count for index in range(count)]
