"""`seitpp.export.export`: files against the model with every tokenizer, what they tell, and what is refused."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpretrain.models import LinearClsHead
from torch import Tensor

from helpers.classifier import (
    TrainedClassifier,
    logits_of,
    make_trained_classifier,
    small_kmeans,
    small_vitvqgan,
    write_store,
)
from seitpp.apis import load_classifier
from seitpp.benchmarking.synthetic import make_store
from seitpp.export import export, formats
from seitpp.export.export import Exporter, Parity, export_model
from seitpp.export.graphs import ImagesToLogits, TokensToLogits, encode_whole, in_range
from seitpp.storage import StoreReader
from seitpp.tokenizers import VQGAN, BlockDCT, Tokenizer, ViTVQGAN

CLASSES = ["ant", "bee", "cat", "dog", "eel", "fox"]
_CONVOLUTIONS = dict(channels=32, multipliers=(1, 2), attention_at=(5,), z_channels=8, code_dim=8, codebook_size=16)
_CONVOLUTIONS |= dict(num_res_blocks=1, resolution=10)


def vqgan(quantizer: str) -> VQGAN:
    torch.manual_seed(0)
    return VQGAN(arch={**_CONVOLUTIONS, "quantizer": quantizer}, image_size=10)


def tiled() -> ViTVQGAN:
    torch.manual_seed(0)
    side = dict(dims=16, depth=1, num_heads=2, head_dims=8, mlp_dims=16)
    options = dict(codebook_size=16, code_dim=8, image_size=24, patch_size=4, positions="tiles", tile_size=12)
    return ViTVQGAN(arch=dict(encoder=side, decoder=side), **options)


TOKENIZERS: dict[str, Callable[[], Tokenizer]] = {
    "vqgan": lambda: vqgan("euclidean"),
    "vqgan-cosine": lambda: vqgan("cosine"),
    "vqgan-logits": lambda: vqgan("logits"),
    "tiles": tiled,
    "dct": lambda: BlockDCT(40, luma_coefficients=3, chroma_coefficients=1),
    "grey": lambda: small_kmeans(in_channels=1),
}


@pytest.fixture(scope="module")
def kmeans(tmp_path_factory: pytest.TempPathFactory) -> TrainedClassifier:
    return make_trained_classifier(tmp_path_factory.mktemp("kmeans"))


def images_like(tokenizer: Tokenizer, count: int) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.rand(count, tokenizer.in_channels, *tokenizer.image_size, generator=generator)


def run_onnx(path: Path, batch: Tensor) -> list[np.ndarray]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: batch.numpy()})


# What the files compute.


@pytest.mark.parametrize("name", TOKENIZERS)
def test_tokens_without_chunks_are_the_tokenizer_s(name: str) -> None:
    tokenizer = TOKENIZERS[name]().eval()
    images = in_range(tokenizer, images_like(tokenizer, 3))
    assert torch.equal(encode_whole(tokenizer, images), tokenizer.encode(images))


@pytest.mark.parametrize("name", ["vqgan", "grey"])
def test_unit_range_is_brought_to_the_tokenizer_s(name: str) -> None:
    tokenizer = TOKENIZERS[name]()
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    torch.testing.assert_close(in_range(tokenizer, pixels / 255), tokenizer.from_bytes(pixels))


def test_vitvqgan_and_embeddings_as_onnx(tmp_path: Path) -> None:
    trained = make_trained_classifier(tmp_path, small_vitvqgan(tmp_path), "embeddings")
    (parity,) = export_model(trained.config, trained.checkpoint, tmp_path / "out", tokenizer=trained.store)
    assert parity == Parity(tmp_path / "out.onnx", 8, (1, 3, 4), parity.logits_difference, 1.0)
    assert parity.logits_difference < 1e-4
    images = images_like(trained.tokenizer, 7)
    tokens = trained.tokenizer.encode(images)
    expected = logits_of(load_classifier(trained.config, trained.checkpoint), tokens)
    logits, found = run_onnx(tmp_path / "out.onnx", images)
    np.testing.assert_array_equal(found, tokens)
    np.testing.assert_allclose(logits, expected, atol=1e-4)


def test_kmeans_and_codes_as_onnx_with_what_users_need(kmeans: TrainedClassifier, tmp_path: Path) -> None:
    import onnxruntime

    (parity,) = export_model(kmeans.config, kmeans.checkpoint, tmp_path / "out", tokenizer=kmeans.store)
    assert parity.token_agreement == 1 and 0 <= parity.logits_difference < 1e-4
    facts = json.loads((tmp_path / "out.json").read_text())
    assert facts["classes"] == CLASSES and facts["num_classes"] == 6
    assert (facts["input"], facts["input_shape"], facts["image_size"]) == ("images", ["batch", 3, 10, 10], [10, 10])
    assert (facts["pixel_range"], facts["channels"]) == ([0, 1], "RGB")
    assert facts["tokenizer"]["type"] == "PatchKMeans" and "bicubic with antialiasing to 10 x 10" in facts["resize"]
    session = onnxruntime.InferenceSession(tmp_path / "out.onnx", providers=["CPUExecutionProvider"])
    inside = session.get_modelmeta().custom_metadata_map
    assert json.loads(inside["classes"]) == CLASSES and inside["resize"] == facts["resize"]
    assert {key: json.loads(inside[key]) for key in ("tokenizer", "input_shape")} == {
        key: facts[key] for key in ("tokenizer", "input_shape")
    }
    assert [part.name for part in (*session.get_inputs(), *session.get_outputs())] == ["images", "logits", "tokens"]


@pytest.mark.parametrize(
    ("output", "batch_size"), [("codes", None), pytest.param("embeddings", 5, marks=pytest.mark.slow)]
)
def test_classifier_alone_takes_tokens_in_any_batch_or_one(tmp_path: Path, output: str, batch_size: int | None) -> None:
    trained = make_trained_classifier(tmp_path, output=output)
    options = dict(formats=["torch-export"], batch_size=batch_size)
    (parity,) = export_model(trained.config, trained.checkpoint, tmp_path / "out", **options)
    assert parity.token_agreement is None and parity.logits_difference < 1e-5
    assert parity.batch_sizes == ((1, 3, 4) if batch_size is None else (5, 5))
    tokens = torch.from_numpy(StoreReader(trained.store).read_all()).long()
    expected = logits_of(load_classifier(trained.config, trained.checkpoint), tokens)
    content = {formats.METADATA_FILE: ""}
    with (tmp_path / "out.pt2").open("rb") as file:
        module = torch.export.load(file, extra_files=content).module()
    torch.testing.assert_close(module(tokens), expected)
    assert json.loads(content[formats.METADATA_FILE]) == json.loads((tmp_path / "out.json").read_text())
    facts = json.loads((tmp_path / "out.json").read_text())
    assert facts["input_shape"] == [batch_size or "batch", 5, 5]
    assert facts["input_dtype"] == "int64" and "tokenizer" not in facts


@pytest.mark.slow
@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("format", ["onnx", "torch-export"])
def test_every_tokenizer_in_every_format(tmp_path: Path, name: str, format: str) -> None:
    tokenizer = TOKENIZERS[name]().eval()
    trained = make_trained_classifier(tmp_path, tokenizer, "embeddings" if name == "dct" else "codes")
    model = load_classifier(trained.config, trained.checkpoint)
    samples = images_like(tokenizer, 4)
    (parity,) = Exporter(model, tokenizer, samples=samples).export(tmp_path / "out", [format])
    assert parity.token_agreement == 1 and parity.logits_difference < 1e-4 and parity.num_samples == 8


@pytest.mark.slow
def test_classifier_alone_as_onnx(tmp_path: Path) -> None:
    trained = make_trained_classifier(tmp_path, output="embeddings")
    export_model(trained.config, trained.checkpoint, tmp_path / "out")
    tokens = torch.from_numpy(StoreReader(trained.store).read_all()).long()
    expected = logits_of(load_classifier(trained.config, trained.checkpoint), tokens)
    np.testing.assert_allclose(run_onnx(tmp_path / "out.onnx", tokens)[0], expected, atol=1e-5)


def test_decoder_stays_out_and_the_tokenizer_as_it_was(tmp_path: Path) -> None:
    trained = make_trained_classifier(tmp_path, small_vitvqgan(tmp_path))
    model = load_classifier(trained.config, trained.checkpoint)
    module = ImagesToLogits(trained.tokenizer, TokensToLogits(model))
    assert not [name for name in module.state_dict() if ".decoder." in name]
    assert trained.tokenizer.can_decode and trained.tokenizer.decoder is not None


def test_without_test_data_random_input_is_all_there_is(
    kmeans: TrainedClassifier, tmp_path: Path, computing: Callable
) -> None:
    computing(lambda outputs: outputs)
    config = Config.fromfile(kmeans.config)
    config.test_dataloader.dataset.store = str(tmp_path / "gone")
    (parity,) = export_model(config, kmeans.checkpoint, tmp_path / "out", formats=["torch-export"])
    assert parity.batch_sizes == (1, 3)
    # Tokens as they are after the centre crop: nothing else is known of the grid.
    assert json.loads((tmp_path / "out.json").read_text())["input_shape"] == ["batch", 4, 4]


def test_test_data_of_another_tokenizer_is_left_out(
    kmeans: TrainedClassifier, tmp_path: Path, computing: Callable
) -> None:
    computing(lambda outputs: outputs)
    config = Config.fromfile(kmeans.config)
    config.test_dataloader.dataset.store = str(make_store(tmp_path / "recipe", grid=(6, 6)))
    (parity,) = export_model(
        config, kmeans.checkpoint, tmp_path / "out", tokenizer=kmeans.store, formats=["torch-export"]
    )
    assert parity.batch_sizes == (1, 3)


# What is refused.


@pytest.fixture
def computing(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[list[Tensor]], list[Tensor]]], None]:
    """Lets files compute what the model does after a change, without the time that tracing takes."""

    def stand_in(change: Callable[[list[Tensor]], list[Tensor]]) -> None:
        modules = []

        def load(_path: Path, _input: str) -> Callable[[Tensor], list[Tensor]]:
            def run(batch: Tensor) -> list[Tensor]:
                outputs = modules[-1](batch)
                return change([outputs] if isinstance(outputs, Tensor) else list(outputs))

            return run

        monkeypatch.setattr(Exporter, "_traced", lambda _self, module: modules.append(module))
        writers = (lambda _program, path, *_facts: path.touch(), load)
        monkeypatch.setitem(export.WRITERS, "torch-export", writers)

    return stand_in


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda out: [out[0] + 0.01, out[1]], r"out.pt2 gives logits that differ by up to 0.01 from the model's, tol"),
        (lambda out: [out[0] * np.nan, out[1]], "differ by up to nan from the model's, tolerance 0.001"),
        (lambda out: [out[0], (out[1] + 1) % 16], r"out.pt2 gives the tokenizer's tokens at 0.0000% of positions"),
    ],
    ids=["logits", "nan", "tokens"],
)
def test_file_that_computes_something_else_is_not_kept(
    kmeans: TrainedClassifier, tmp_path: Path, computing: Callable, change: Callable, message: str
) -> None:
    computing(change)
    options = dict(tokenizer=kmeans.store, formats=["torch-export"], tolerance=1e-3)
    with pytest.raises(ValueError, match=message):
        export_model(kmeans.config, kmeans.checkpoint, tmp_path / "out", **options)
    assert os.listdir(tmp_path) == []


def test_logits_are_compared_where_tokens_are_the_same(
    kmeans: TrainedClassifier, tmp_path: Path, computing: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "_LEAST_AGREEMENT", 0.9)

    def one_other_token(out: list[Tensor]) -> list[Tensor]:
        logits, tokens = out[0].clone(), out[1].clone()
        logits[0] += 5
        tokens[0, 0, 0] = (tokens[0, 0, 0] + 1) % 16
        return [logits, tokens]

    computing(one_other_token)
    options = dict(tokenizer=kmeans.store, formats=["torch-export"])
    (parity,) = export_model(kmeans.config, kmeans.checkpoint, tmp_path / "out", **options)
    assert parity.logits_difference < 1e-4 and parity.token_agreement == pytest.approx(1 - 3 / (8 * 25))


def test_images_without_a_tokenizer(kmeans: TrainedClassifier, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="files that take images hold the tokenizer, and none is known"):
        export_model(kmeans.config, kmeans.checkpoint, tmp_path / "out", input="images")


def test_tokenizer_of_another_codebook(kmeans: TrainedClassifier, tmp_path: Path) -> None:
    other = write_store(tmp_path / "other", kmeans.images, small_kmeans(codebook_size=15))
    with pytest.raises(ValueError, match=r"the PatchKMeans and the data preprocessor .*codebook_size 15 and"):
        export_model(kmeans.config, kmeans.checkpoint, tmp_path / "out", tokenizer=other)


def test_bfloat16_tokenizer(kmeans: TrainedClassifier, tmp_path: Path) -> None:
    trained = make_trained_classifier(tmp_path, small_vitvqgan(tmp_path))
    trained.tokenizer.precision = "bfloat16"
    with pytest.raises(ValueError, match="the tokenizer computes in bfloat16 and files in float32"):
        Exporter(load_classifier(trained.config, trained.checkpoint), trained.tokenizer).export(tmp_path / "out")


def test_tokenizer_of_another_kind() -> None:
    class Other(Tokenizer):
        encode = decode = describe = None
        codebook = torch.ones(2, 2)

    with pytest.raises(ValueError, match="Other cannot be exported: expected ViTVQGAN, VQGAN, PatchKMeans"):
        encode_whole(Other(), torch.rand(1, 3, 8, 8))


def test_head_without_logits(kmeans: TrainedClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LinearClsHead, "forward", lambda _head, feats: list(feats))
    with pytest.raises(ValueError, match=r"the head, a LinearClsHead, gives no logits \(B, 6\)"):
        export_model(kmeans.config, kmeans.checkpoint, tmp_path / "out")


def test_packages_that_are_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ModuleNotFoundError, match=r"onnxscript is not installed.*pip install onnx onnxscript"):
        formats.write_onnx(SimpleNamespace(state_dict={}), tmp_path / "out.onnx", {}, "images")


def test_weights_too_large_for_onnx(tmp_path: Path) -> None:
    program = SimpleNamespace(state_dict={"weight": torch.empty(2**29, device="meta")})
    with pytest.raises(ValueError, match="the weights have 2,147,483,648 bytes, an ONNX file holds 2 GiB"):
        formats.write_onnx(program, tmp_path / "out.onnx", {}, "images")
