"""A store brings its tokenizer along."""

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seitpp.datasets.image_dataset import fitting_of
from seitpp.registry import TOKENIZERS
from seitpp.storage import StoreReader, StoreWriter
from seitpp.storage.header import read_header, write_header
from seitpp.tokenizers import BlockDCT, PatchKMeans, tokenizer_from_store

inspect_store = runpy.run_path(str(Path(__file__).parents[2] / "tools" / "inspect_store.py"))["main"]


def write(path: Path, tokenizer: PatchKMeans, facts: dict) -> StoreReader:
    with StoreWriter(
        path,
        codebook_size=tokenizer.codebook_size,
        grid=tokenizer.grid,
        tokenizer=facts,
        codebook=tokenizer.codebook.numpy(),
    ) as writer:
        writer.append(np.zeros((1, *tokenizer.grid), np.int64))
    return StoreReader(path)


@pytest.fixture
def fitted() -> PatchKMeans:
    images = torch.rand(20, 3, 8, 12, generator=torch.Generator().manual_seed(0))
    return PatchKMeans((8, 12), 4).fit(images, 5)


def test_tokenizer_is_built_again(fitted: PatchKMeans, tmp_path: Path) -> None:
    again = tokenizer_from_store(write(tmp_path / "s", fitted, {"name": "mine", **fitted.describe()}))
    images = torch.rand(3, 3, 16, 24, generator=torch.Generator().manual_seed(1))
    assert torch.equal(again.tokenize(images), fitted.tokenize(images))


def test_header_records_the_preprocessing(fitted: PatchKMeans) -> None:
    assert fitted.describe()["preprocessing"] == {
        "pixel_range": [0.0, 1.0],
        "resize": "bicubic with antialiasing to 8 x 12, aspect not kept",
    }


def test_store_of_an_unknown_tokenizer_is_refused(fitted: PatchKMeans, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the store's tokenizer, 'vit-vqgan', cannot be built again"):
        tokenizer_from_store(write(tmp_path / "s", fitted, {"name": "vit-vqgan"}))


def forged(store: StoreReader, **changes: Any) -> Path:
    """The store with other entries of its tokenizer, and a header that is sealed again."""
    header = read_header(store.path)
    tokenizer = {key: value for key, value in {**header["tokenizer"], **changes}.items() if value != "remove"}
    write_header(store.path, {**header, "tokenizer": tokenizer})
    return store.path


@pytest.fixture
def store(fitted: PatchKMeans, tmp_path: Path) -> StoreReader:
    return write(tmp_path / "s", fitted, fitted.describe())


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("engine.launch.Config.fromstring", {"cfg_str": "raise SystemExit('ran')", "file_format": ".py"}),
        ("files.Path.unlink", {"self": "victim"}),
        ("seitpp.PatchKMeans", {}),
        ("mmengine::Config", {}),
        ("", {}),
    ],
)
def test_header_imports_nothing(store: StoreReader, kind: str, options: dict, capsys: pytest.CaptureFixture) -> None:
    path = forged(store, type=kind, **options)
    with pytest.raises(ValueError, match="expected the plain name of a tokenizer"):
        StoreReader(path)
    assert inspect_store(["verify", str(path)]) == 1
    assert "expected the plain name of a tokenizer" in capsys.readouterr().out.replace("\n", " ")
    with pytest.raises(ValueError, match="expected the plain name of a tokenizer"):
        fitting_of(path)


@pytest.mark.parametrize("kind", ["TokenAdapt", "ViTMTM", "Config", "ImageClassifier", "Tokenizer"])
def test_only_registered_tokenizers_are_built(store: StoreReader, kind: str) -> None:
    path = forged(store, type=kind)
    with pytest.raises(ValueError, match=f"names the tokenizer type '{kind}', expected one of .*BlockDCT.*VQGAN"):
        tokenizer_from_store(StoreReader(path))
    with pytest.raises(ValueError, match=f"names the tokenizer type '{kind}', expected one of "):
        fitting_of(path)


def test_tokenizer_of_ones_own_is_built(fitted: PatchKMeans, tmp_path: Path) -> None:
    @TOKENIZERS.register_module()
    class OwnKMeans(PatchKMeans):
        """Another one."""

    try:
        facts = {**fitted.describe(), "type": "OwnKMeans"}
        assert isinstance(tokenizer_from_store(write(tmp_path / "s", fitted, facts)), OwnKMeans)
    finally:
        TOKENIZERS.module_dict.pop("OwnKMeans")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"patch": 4}, "gives PatchKMeans the option 'patch', which it does not take"),
        ({"codebook": "/etc/passwd"}, "gives PatchKMeans the option 'codebook', which it does not take"),
        ({"in_channels": {"type": "os.system"}}, "tokenizer.in_channels has a 'type', 'os.system'"),
        ({"image_size": [{"_scope_": "mmengine"}, 8]}, "tokenizer.image_size has a '_scope_'"),
        ({"image_size": [8, 2**40]}, "tokenizer.image_size is 1099511627776, expected a number in 0..1048576"),
        ({"patch_size": -4}, "tokenizer.patch_size is -4"),
        ({"image_size": "large"}, r"tokenizer.image_size is 'large', expected \[height, width\]"),
        ({"image_size": ""}, r"tokenizer.image_size is '', expected \[height, width\]"),
        ({"image_size": [8, None]}, r"tokenizer.image_size is \[8, None\], expected \[height, width\]"),
        ({"image_size": [0, 8]}, r"tokenizer.image_size is \[0, 8\], expected \[height, width\]"),
        ({"image_size": []}, r"tokenizer.image_size is \[\], expected \[height, width\]"),
        ({"patch_size": "remove"}, "is damaged or is not a description of PatchKMeans"),
        ({"patch_size": 0}, "is damaged or is not a description of PatchKMeans"),
        ({"image_size": [16, 24]}, r"'sample_shape': \(4, 6\)}, but the store has {'sample_shape': \(2, 3\)}"),
        ({"weights_sha256": "0" * 64}, "for no networks names weights"),
    ],
)
def test_options_of_a_header_are_checked(store: StoreReader, changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tokenizer_from_store(StoreReader(forged(store, **changes)))


def test_values_of_a_tokenizer_without_a_codebook_must_be_those_of_the_store(tmp_path: Path) -> None:
    dct = BlockDCT(image_size=16, quality=50, luma_coefficients=3, chroma_coefficients=1)
    options = {"channels": dct.channels, "minimum": dct.minimum, "tokenizer": dct.describe()}
    with StoreWriter(tmp_path / "s", codebook_size=dct.codebook_size, grid=dct.grid, **options) as writer:
        writer.append(np.zeros((1, *dct.sample_shape), np.int64))
    reader = StoreReader(tmp_path / "s")
    assert tokenizer_from_store(reader).quality == 50
    with pytest.raises(
        ValueError, match=r"describes a BlockDCT with .*'codebook_size': \d+, 'minimum': -\d+}, but the store has .*"
    ):
        tokenizer_from_store(StoreReader(forged(reader, quality=90)))


@pytest.mark.parametrize(
    "changes", [{"type": 3}, {"type": ["PatchKMeans"]}, {"distance": {}}, {"checkpoint": 3}, {"weights_sha256": None}]
)
def test_entries_of_a_wrong_kind_are_refused(store: StoreReader, changes: dict) -> None:
    path = forged(store, **changes)
    with pytest.raises(ValueError, match=f"tokenizer.{next(iter(changes))} is .* not of the expected JSON type"):
        StoreReader(path)


@pytest.mark.parametrize("changes", [{"in_channels": {"type": "os.system"}}, {"image_size": [8, 2**40]}])
def test_options_that_no_tokenizer_takes_are_a_problem(store: StoreReader, changes: dict) -> None:
    (problem,) = StoreReader(forged(store, **changes)).verify()
    assert f"header.json: tokenizer.{next(iter(changes))}" in problem


def test_networks_without_weights_are_not_made_up(store: StoreReader) -> None:
    path = forged(store, type="ViTVQGAN", patch_size=4, arch="small", codebook_size=5, code_dim=48)
    with pytest.raises(ValueError, match=r"says that a ViTVQGAN made it, but not with which weights"):
        tokenizer_from_store(StoreReader(path))


def test_networks_of_absurd_sizes_are_not_built(store: StoreReader) -> None:
    stack = {"dims": 65536, "depth": 256, "num_heads": 64, "mlp_dims": 2**20}
    arch = {"encoder": stack, "decoder": stack}
    path = forged(store, type="ViTVQGAN", patch_size=4, arch=arch, weights_sha256="0" * 64)
    with pytest.raises(ValueError, match=r"describes a ViTVQGAN of [\d,]+ parameters, expected at most 2,147,483,648"):
        tokenizer_from_store(StoreReader(path))
    arch["encoder"] = {**stack, "depth": 10**6}
    with pytest.raises(ValueError, match=r"tokenizer.arch.encoder.depth is 1000000, expected a number in 0..256"):
        tokenizer_from_store(StoreReader(forged(store, arch=arch)))


@pytest.mark.parametrize("checkpoint", ["nowhere.pth", "/nowhere/at/all.pth", "http://nowhere/x.pth", "\0", "x" * 5000])
def test_weights_that_a_header_names_must_be_a_file(store: StoreReader, checkpoint: str) -> None:
    path = forged(store, type="ViTVQGAN", patch_size=4, arch="small", weights_sha256="0" * 64, checkpoint=checkpoint)
    with pytest.raises(ValueError, match="which is not here; pass their file as checkpoint"):
        tokenizer_from_store(StoreReader(path))


def test_a_writer_refuses_what_readers_refuse(fitted: PatchKMeans, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected the plain name of a tokenizer"):
        write(tmp_path / "s", fitted, {**fitted.describe(), "type": "seitpp.PatchKMeans"})
