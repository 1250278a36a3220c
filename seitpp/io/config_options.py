"""`--cfg-options`: changes of a config on the command line, of which each must change something.

mmengine merges whatever it is given, so that a misspelled key acts as if it had not been given. Here a key that the
config does not have, and that nothing would read, is an error; `+key=value` adds one all the same.
"""

import argparse
import copy
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.config import Config, DictAction
from mmengine.logging import print_log
from mmengine.utils import import_modules_from_strings

from seitpp.io.config_readers import keys_read, root_keys
from seitpp.io.text import did_you_mean, nearest_names, shown

_HELP = (
    "settings that override the config, as key=value; lists as key='[a,b]', nested keys with dots; +key=value adds a "
    "key that nothing known here reads"
)
# Dicts that are looked through in whole configs, where a key that is not read would pass unnoticed.
_LOOKED_THROUGH = ("auto_scale_lr", "randomness", "env_cfg")


class OptionsAction(DictAction):
    """mmengine's parsing of `key=value`, with an error of the command line for anything else."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, *args: Any) -> None:
        for text in [values] if isinstance(values, str) else values:
            key, equals, _ = text.partition("=")
            if not equals or not all(key.removeprefix("+").split(".")):
                parser.error(f"--cfg-options {text}: expected key=value, such as train_dataloader.batch_size=64")
        try:
            super().__call__(parser, namespace, values, *args)
        except (ValueError, AssertionError) as error:
            parser.error(f"--cfg-options {' '.join(values)}: {error}")
        except RecursionError:  # of mmengine's parser, on anything in brackets that it cannot take apart
            parser.error(
                f"--cfg-options {' '.join(values)}: lists are written '[a,b]' and tuples '(a,b)', of numbers and "
                "words; set a dict key by key, such as custom_hooks.0.momentum=1e-3"
            )


# Hooks of every run, which None leaves out also where a config does not name them.
_ADDED_HOOKS = (
    *("runtime_info", "timer", "sampler_seed", "logger", "param_scheduler", "checkpoint"),
    *("summary", "finite_guard", "checkpoint_guard"),
)


def add_options_argument(parser: argparse.ArgumentParser) -> None:
    """Add the option `--cfg-options` of every tool that reads a config."""
    parser.add_argument("--cfg-options", nargs="+", action=OptionsAction, help=_HELP)


def apply_options(config: Config, options: Mapping[str, Any] | None) -> None:
    """Merge options, values by dotted key, into a config, in place; a key that begins with `+` is added unchecked."""
    if not options:
        return
    given = {key.removeprefix("+"): value for key, value in options.items()}
    merged = copy.deepcopy(config)
    _merge(merged, {key: value for key, value in given.items() if key.split(".")[-1] == "type"})
    for key, value in options.items():
        if not key.startswith("+"):
            _check_key(config, merged, key, value, given)
    _merge(config, given)
    if any(key.split(".")[0] == "custom_imports" for key in given):  # which mmengine imports when it reads a file
        import_modules_from_strings(**config.custom_imports)


def _merge(config: Config, options: dict[str, Any]) -> None:
    for key, value in options.items():
        try:
            config.merge_from_dict({key: value})
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(
                f"--cfg-options {key}: it cannot be set in this config; set the whole of what it is a part of ({error})"
            ) from error


def _check_key(config: Config, merged: Config, key: str, value: Any, given: Mapping[str, Any]) -> None:
    """Follow a dotted key into the config, and refuse the first part of it that nothing has and nothing reads.

    `merged` is the config with the types that are `given`, by which other keys are read.
    """
    parts, scope = key.split("."), merged.get("default_scope")
    known_at_root = root_keys(tokenizing="tokenizer" in config and "model" not in config)
    node: Any = config._cfg_dict
    typed: Any = merged._cfg_dict
    for number, part in enumerate(parts):
        path = parts[:number]
        here = f"--cfg-options {key}: {'.'.join(path)} is"
        if isinstance(node, (list, tuple)):
            if not part.isdigit() or int(part) >= len(node):
                raise ValueError(f"{here} a list of {len(node)}, and {part!r} is no index of it")
            node, typed = node[int(part)], typed[int(part)] if isinstance(typed, (list, tuple)) else {}
            continue
        if not isinstance(node, Mapping):
            raise ValueError(f"{here} {shown(node)} and has no keys")
        scope = node.get("_scope_", scope)
        if part not in node:
            if path and part.isdigit():
                without = ".".join([*path, *parts[number + 1 :]])
                raise ValueError(f"{here} {f'one dict and no list: {without} sets it' if node else 'no list yet'}")
            known = keys_read(typed, path, scope) if path else known_at_root
            if path == ["default_hooks"]:  # a hook of a new name must say what it is
                is_off = value is None and number + 1 == len(parts) and part in _ADDED_HOOKS
                known = {part} if is_off or f"default_hooks.{part}.type" in given else set()
            if known is not None and part not in known:
                raise ValueError(_unread(config, key, path, part, {*node, *known}))
        node = node.get(part, {} if number + 1 < len(parts) else None)
        typed = typed.get(part, {}) if isinstance(typed, Mapping) else {}
    if len(parts) > 1:
        return
    if isinstance(node, Mapping):
        if not isinstance(value, (Mapping, list, type(None))):
            raise ValueError(f"--cfg-options {key}={value}: {key} is a dict; set one of its keys, such as {key}.type")
    elif key not in known_at_root:
        print_log(
            f"--cfg-options {key}: {key} is a variable of the config file, whose value was used when the file was "
            "read; set the keys that it went into.",
            logger="current",
            level=logging.WARNING,
        )


def _unread(config: Config, key: str, path: Sequence[str], part: str, known: set[str]) -> str:
    elsewhere = [found for found in _paths(config._cfg_dict) if found.split(".")[-1] == part]
    close = nearest_names(part, sorted(map(str, known - {"_scope_", "_delete_"})))
    meant = did_you_mean([*(".".join([*path, name]) for name in close), *elsewhere]) or "."
    return (
        f"--cfg-options {key}: the config has no {'.'.join([*path, part])}, and nothing would read it{meant} "
        f"(+{key}=... adds it all the same)"
    )


def _paths(node: Any, above: str = "") -> Iterator[str]:
    """Yield the dotted keys of all that a config holds."""
    entries = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, (list, tuple)) else ()
    for name, child in entries:
        path = f"{above}.{name}" if above else str(name)
        yield path
        yield from _paths(child, path)


def check_read_keys(config: Config) -> None:
    """Refuse keys that nothing reads in dicts of a config whose readers pass over them."""
    for name in _LOOKED_THROUGH:
        node = config.get(name)
        if not isinstance(node, Mapping):
            continue
        known = (keys_read(node, [name], None) or set()) - {"_delete_"}
        for part in node:
            if part not in known:
                meant = did_you_mean(nearest_names(str(part), sorted(known))) or f"; it has {', '.join(sorted(known))}"
                raise ValueError(f"the config has {name}.{part}, which nothing reads{meant}")
