"""The end of every tool: a wrong input gives one line on standard error, not a traceback.

`main` of a tool raises; `run_tool`, in the tool's last line, turns that into a line and an exit status. No torch and no
mmengine: a tool that only reads files stays quick to start.
"""

import argparse
import os
import re
import select
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from seitpp.io.atomic_write import too_many_open
from seitpp.io.text import did_you_mean, nearest_names

# Set to anything but 0 to see where an error arose.
TRACEBACK_VARIABLE = "SEITPP_TRACEBACK"
_INTERRUPTED = 130
_BROKEN_PIPE = 141
_MOST_CHARACTERS = 2000
# What files, options and machines raise with a message that speaks for itself.
_EXPLAINED = (ValueError, OSError, ImportError, SyntaxError, AssertionError)  # the last of OpenMMLab's constructors
_UNREGISTERED = re.compile(r"(?P<name>\S+) is not in the (?:\w+::)?(?P<registry>[\w ]+) registry\b")
_UNKNOWN_ARGUMENT = re.compile(r"(?P<owner>\w+)(?:\.__init__)?\(\) got an unexpected keyword argument '(?P<name>\w+)'")
_MISSING_ARGUMENT = re.compile(r"(?P<owner>\w+)(?:\.__init__)?\(\) missing \d+ required .*arguments?: (?P<names>.+)")


def run_tool(main: Callable[[], int | None]) -> int:
    """Run a tool and return its exit status; what it raises becomes one line on standard error.

    0 or what `main` returns; 1 after an error, 2 after one of the command line (argparse's), 130 after Ctrl-C, 141
    where a program that reads the output has ended. With `SEITPP_TRACEBACK=1` in the environment the traceback comes
    first. Each of several processes adds its rank.
    """
    try:
        status = main() or 0
        sys.stdout.flush()  # here, where a broken pipe is caught, and not when Python ends
        return status
    except SystemExit as end:
        if isinstance(end.code, str):
            return _fail(end.code)
        raise
    except KeyboardInterrupt:
        print(f"{Path(sys.argv[0]).name}: interrupted", file=sys.stderr)
        return _INTERRUPTED
    except Exception as error:  # the end of the program: whatever it is, it is shown
        if isinstance(error, BrokenPipeError) and _output_is_closed():
            return _BROKEN_PIPE
        if os.environ.get(TRACEBACK_VARIABLE, "0") != "0":
            traceback.print_exc()
        return _fail(error_line(error))


def positive_number(text: str) -> int:
    """A whole number from 1 on, as a type of `argparse`."""
    return _whole_number(text, 1)


def counted_number(text: str) -> int:
    """A whole number from 0 on, as a type of `argparse`."""
    return _whole_number(text, 0)


def file_ending_in(*suffixes: str) -> Callable[[str], Path]:
    """The name of a file of one of some kinds, as a type of `argparse`."""

    def named(text: str) -> Path:
        if Path(text).suffix.lower() not in suffixes:
            raise argparse.ArgumentTypeError(f"{text}: expected a name that ends in {', '.join(suffixes)}")
        return Path(text)

    return named


def regular_expression(text: str) -> re.Pattern:
    """A regular expression, as a type of `argparse`."""
    try:
        return re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no regular expression: {error}") from error


def _whole_number(text: str, least: int) -> int:
    if not text.strip().isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least} on")
    return int(text)


def _fail(message: str) -> int:
    rank = f" (rank {os.environ['RANK']})" if os.environ.get("WORLD_SIZE", "1") != "1" and "RANK" in os.environ else ""
    print(f"{Path(sys.argv[0]).name}: error{rank}: {_one_line(message)}", file=sys.stderr)
    return 1


def _output_is_closed() -> bool:
    """Return whether nobody reads standard output any more; what is left in its buffer then goes nowhere."""
    if not hasattr(select, "poll"):  # a system on which a closed pipe is another error
        return False
    watch = select.poll()
    watch.register(sys.stdout.fileno(), 0)
    if not any(event & select.POLLERR for _, event in watch.poll(0)):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True


def error_line(error: BaseException) -> str:
    """Return what went wrong, in one line; errors not made for readers get their kind and how to see more."""
    message = _message(error)
    if isinstance(error, _EXPLAINED) and message:
        return message
    if isinstance(error, (KeyError, TypeError)) and (explained := _of_config(error, message)):
        return explained
    if isinstance(error, MemoryError):
        return f"out of memory{': ' if message else ''}{message}"
    kind = type(error).__name__
    return f"{kind}{': ' if message else ''}{message} ({TRACEBACK_VARIABLE}=1 shows where)"


def _message(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror is not None:
        reason = too_many_open(error) or error.strerror
        names = [str(name) for name in (error.filename, error.filename2) if name is not None]
        if names or reason != error.strerror:
            return f"{' -> '.join(names)}: {reason}" if names else reason
    # The text of a KeyError is the repr of its key.
    text = error.args[0] if isinstance(error, KeyError) and error.args else error
    return _one_line(_of_worker(str(text)))


def _of_worker(text: str) -> str:
    """Return the message itself, where a loader's process passed its traceback on as part of it."""
    _, marker, passed_on = text.partition("Original Traceback (most recent call last):")
    raised = re.findall(r"^(?:\w+\.)*\w+: (.+)", passed_on, flags=re.MULTILINE)
    return raised[-1] if marker and raised else text


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _MOST_CHARACTERS else f"{line[:_MOST_CHARACTERS]}..."


def _of_config(error: BaseException, message: str) -> str | None:
    """Put in words what a registry or a constructor says of a config's entry; return None for anything else."""
    if found := _UNREGISTERED.search(message):
        name, registry = found["name"].strip("`'\""), found["registry"]
        known = list(_registered(registry))
        if exact := sorted(one for one in known if one.split(".")[-1] == name):
            return f"the config names {name!r}, which is no registered {registry} here; write {' or '.join(exact)}"
        same_scope = [one for one in known if one.split(".")[0] == name.split(".")[0]]
        meant = did_you_mean(nearest_names(name, same_scope or known))
        return f"the config names {name!r}, which is no registered {registry}{meant}"
    if found := _UNKNOWN_ARGUMENT.search(message):
        owner = _class_made(error, found["owner"])
        return f"the config gives {owner} an option {found['name']!r} that it does not have"
    if found := _MISSING_ARGUMENT.search(message):
        return f"the config does not give {found['owner']} what it needs: {found['names']}"
    if "must contain the key" in message:
        return f"an entry of the config has no type: {message}"
    return None


def _class_made(error: BaseException, owner: str) -> str:
    """Return the name of the class that was being made, where its constructor passed options on to its base `owner`."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        made = type(frame.f_locals.get("self"))
        if any(base.__name__ == owner for base in made.__mro__):
            return made.__name__
    return owner


def _registered(kind: str) -> Iterator[str]:
    """Yield the names in a registry of mmengine and in its children, if mmengine is imported."""
    root = sys.modules.get("mmengine.registry")
    registries = [one for one in vars(root).values() if getattr(one, "name", None) == kind] if root else []
    while registries:
        registry = registries.pop()
        yield from (f"{registry.scope}.{name}" for name in registry.module_dict)
        registries += registry.children.values()
