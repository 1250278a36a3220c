"""Exported programs as files, ONNX or torch.export's `.pt2`: written with their metadata, and run again."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.export import ExportedProgram

Input = Literal["images", "tokens"]
Format = Literal["onnx", "torch-export"]
Runner = Callable[[Tensor], list[Tensor]]

SUFFIXES: dict[Format, str] = {"onnx": ".onnx", "torch-export": ".pt2"}
OUTPUTS: dict[Input, tuple[str, ...]] = {"images": ("logits", "tokens"), "tokens": ("logits",)}
METADATA_FILE = "seitpp.json"  # in a `.pt2`; in an ONNX file each entry is one of its metadata
_LARGEST_ONNX = 2**31  # bytes of a protobuf message


def write_pt2(program: ExportedProgram, path: Path, metadata: dict[str, Any], _input: Input) -> None:
    """Write a program as torch.export's archive, with the metadata as the extra file `METADATA_FILE`."""
    with path.open("wb") as file:
        torch.export.save(program, file, extra_files={METADATA_FILE: json.dumps(metadata)})


def load_pt2(path: Path, _input: Input) -> Runner:
    """Load a file of `write_pt2` as a function of a batch that returns the list of outputs."""
    with path.open("rb") as file:
        module = torch.export.load(file).module()

    def run(batch: Tensor) -> list[Tensor]:
        outputs = module(batch)
        return [outputs] if isinstance(outputs, Tensor) else list(outputs)

    return run


def write_onnx(program: ExportedProgram, path: Path, metadata: dict[str, Any], input_name: Input) -> None:
    """Write a program as one ONNX file with its metadata: text as it is, everything else as JSON.

    Raises:
        ModuleNotFoundError: A package is not installed; says which are needed.
        ValueError: The weights are too large for one file.
    """
    num_bytes = sum(value.nbytes for value in program.state_dict.values())
    if num_bytes >= _LARGEST_ONNX:
        raise ValueError(f"the weights have {num_bytes:,} bytes, an ONNX file holds 2 GiB; use --format torch-export")
    with _explained():
        import onnxscript  # noqa: F401  torch.onnx asks for it later, in other words

        exported = torch.onnx.export(
            program, dynamo=True, input_names=[input_name], output_names=OUTPUTS[input_name], verbose=False
        )
        for key, value in metadata.items():
            exported.model.metadata_props[key] = value if isinstance(value, str) else json.dumps(value)
        exported.save(path, external_data=False)


def load_onnx(path: Path, input_name: Input) -> Runner:
    """Load a file of `write_onnx` into onnxruntime, on the CPU, as a function of a batch that returns the outputs."""
    with _explained():
        import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda batch: [torch.from_numpy(value) for value in session.run(None, {input_name: batch.numpy()})]


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{error.name} is not installed, which ONNX files need: pip install onnx onnxscript onnxruntime. Or use "
            "--format torch-export",
            name=error.name,
        ) from error


# How a file is written, and how it is loaded to be run.
WRITERS: dict[Format, tuple[Callable, Callable]] = {
    "onnx": (write_onnx, load_onnx),
    "torch-export": (write_pt2, load_pt2),
}
