"""Print a config as mmengine sees it: bases merged, overrides applied.

python tools/print_config.py CONFIG [--store S] [--fraction F] [--cfg-options key=value ...] [--save-path FILE]
"""

import argparse
from collections.abc import Sequence

from seitpp.engine.recipe_options import read_recipe
from seitpp.engine.stores import add_store_arguments
from seitpp.engine.subset_options import add_subset_arguments
from seitpp.io.command_line import file_ending_in, run_tool
from seitpp.io.config_options import add_options_argument


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; a file type that cannot be written ends the program with status 2."""
    parser = argparse.ArgumentParser(description="Print a config with its bases and overrides merged.")
    parser.add_argument("config", help="config file")
    add_store_arguments(parser)
    add_subset_arguments(parser)
    add_options_argument(parser)
    files = file_ending_in(".py", ".json", ".yml", ".yaml")
    parser.add_argument("--save-path", type=files, help="also write it to this file (.py, .json or .yml)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the merged config, and write it if asked to."""
    args = parse_args(argv)
    cfg = read_recipe(args, tell=lambda note: print(f"# {note}"))
    print(cfg.pretty_text)
    if args.save_path is not None:
        args.save_path.parent.mkdir(parents=True, exist_ok=True)
        cfg.dump(args.save_path)
    return 0


if __name__ == "__main__":
    if status := run_tool(main):
        raise SystemExit(status)
