"""How many files a process may have open, and what to do when they are too few."""

import errno
import resource

_MOST_OPEN = 1024


def most_open() -> int:
    """Files that readers of a process may keep open together, at most 1,024.

    With the map that one may have, a file takes two descriptors; a quarter of what the process may have is left to
    others.
    """
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _MOST_OPEN if limit == resource.RLIM_INFINITY else max(1, min(limit * 3 // 8, _MOST_OPEN))


def too_many_open(error: OSError) -> str | None:
    """What to do about an error, if it is that too many files are open; None for any other."""
    if error.errno == errno.ENFILE:
        return "too many files are open on this machine; end other programs, or raise fs.file-max"
    if error.errno != errno.EMFILE:
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = "" if hard == resource.RLIM_INFINITY else f" (at most {hard})"
    raise_it = "" if soft == hard else f"raise it with ulimit -n NUMBER{most}, or "
    return f"too many open files, the limit of this process is {soft} (ulimit -n); {raise_it}use fewer workers"
