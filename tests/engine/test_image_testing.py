"""Tests on image files: the config that comes out, and logits that are those of the store made of the same files."""

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from PIL import Image

from seitpp.benchmarking.synthetic import make_codebook, make_release
from seitpp.datasets.image_dataset import fitting_of
from seitpp.engine.image_testing import read_tokenizer, use_images
from seitpp.storage import StoreWriter
from seitpp.tokenizers import ViTVQGAN

STACK = {"dims": 16, "depth": 1, "num_heads": 2, "mlp_dims": 16}
MODEL = """
_base_ = {bases}
model = dict(
    backbone=dict(codebook_size={codebook_size}, arch=dict(embed_dims=16, num_layers=1, num_heads=2,
        feedforward_channels=16), code_dim={code_dim}, grid_size=2),
    head=dict(num_classes=3, in_channels=16),
)
data_preprocessor = dict(codebook={codebook!r}, distance={distance!r}, output={output!r}, channels={channels},
    crop_size=2)
test_dataloader = dict(batch_size=2, dataset=dict(data_root={data_root!r}, store={store!r}))
test_evaluator = [dict(type="mmpretrain.Accuracy", topk=(1,)), dict(type="seitpp.CrossEntropy")]
"""
BASES = (
    "models/mtm-classifier_vit-tiny-p2.py",
    "datasets/digits_tokens.py",
    "schedules/finetune_adamw_8xb128-100e.py",
    "default_runtime.py",
)
KINDS = {
    "k-means": dict(type="seitpp.PatchKMeans", image_size=32, patch_size=8, fit=dict(codebook_size=8, seed=0)),
    "vit-vqgan": dict(type="seitpp.ViTVQGAN", arch=dict(encoder=STACK, decoder=STACK), image_size=32, codebook_size=8),
    "dct": dict(type="seitpp.BlockDCT", image_size=32, luma_coefficients=3, chroma_coefficients=1),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`images/CLASS/*.png`: 7 images of three classes in other sizes than the tokenizers'."""
    folder = tmp_path_factory.mktemp("data")
    for number in range(7):
        path = folder / "images" / ("ant", "bee", "cow")[number % 3] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(256, size=(6 + number, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((40, 36)).save(path)
    return folder


def tokenize(tool: Callable, folder: Path, kind: str, repository: Path) -> Path:
    """The config of a classifier on the store that a tokenizer makes of the images."""
    tokenizer, config = copy.deepcopy(KINDS[kind]), folder / f"{kind}.py"
    if kind == "vit-vqgan":
        torch.manual_seed(0)
        weights = ViTVQGAN(**{key: value for key, value in tokenizer.items() if key != "type"}).state_dict()
        torch.save({"state_dict": weights}, folder / "tokenizer.pth")
        tokenizer["checkpoint"] = str(folder / "tokenizer.pth")
    config.write_text(f"tokenizer = {tokenizer!r}\n")
    store = folder / f"{kind}-store"
    if not store.exists():
        assert tool("tokenize_images.py", config, folder / "images", store, "--workers", 0) == 0
    coded = kind != "dct"
    text = MODEL.format(
        bases=[str(repository / "configs" / "_base_" / name) for name in BASES],
        codebook_size=8 if coded else None,
        code_dim={"k-means": 192, "vit-vqgan": 32, "dct": 5}[kind],
        codebook=str(store) if coded else None,
        distance="cosine" if kind == "vit-vqgan" else "euclidean",
        output="codes" if coded else "embeddings",
        channels=None if coded else 5,
        data_root=str(folder) + "/",
        store=store.name,
    )
    (folder / f"{kind}-model.py").write_text(text)
    return folder / f"{kind}-model.py"


@pytest.fixture
def config(tool: Callable, folder: Path, repository: Path, tmp_path: Path) -> Callable[..., Config]:
    """Makes the config of a classifier on a store of the images."""

    def make(kind: str = "k-means") -> Config:
        cfg = Config.fromfile(tokenize(tool, folder, kind, repository))
        cfg.work_dir = str(tmp_path / "work_dir")
        return cfg

    return make


def predictions(runner: Runner) -> torch.Tensor:
    """Scores of all test samples and their labels, (N, classes + 1)."""
    rows = []
    model = runner.model.eval()
    for batch in runner.build_dataloader(runner.cfg.test_dataloader):
        samples = model.test_step(batch)
        rows += [torch.cat([sample.pred_score, sample.gt_label.float()]) for sample in samples]
    return torch.stack(rows)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("named", [False, True], ids=["by-store", "by-config"])
def test_images_and_their_store_give_the_same_logits(
    config: Callable, build_runner: Callable, folder: Path, kind: str, named: bool
) -> None:
    cfg = config(kind)
    on_images = copy.deepcopy(cfg)
    if named and kind == "k-means":
        tokenizer = str(folder / "k-means-store")  # its config would fit another one
    else:
        tokenizer = str(folder / f"{kind}.py") if named else None
    use_images(on_images, str(folder / "images"), tokenizer=tokenizer, num_workers=0, batch_size=2)
    runner = build_runner(cfg)
    if kind == "dct":
        runner.model.data_preprocessor.std.fill_(50)
    other = build_runner(on_images)
    other.model.load_state_dict(runner.model.state_dict())
    expected = predictions(runner)
    assert expected[:, :-1].std(dim=0).min() > 0  # the images differ
    assert expected[:, -1].tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert torch.equal(predictions(other), expected)


def test_config_that_comes_out(config: Callable, folder: Path) -> None:
    cfg = config()
    store = f"{folder}/k-means-store"
    use_images(cfg, "some/images", split="val", root="r", classes_file="classes.txt", num_workers=3)
    assert cfg.data_preprocessor.tokenizer == store
    assert cfg.test_dataloader == dict(
        batch_size=64,
        num_workers=3,
        dataset=dict(
            type="seitpp.ImageDataset",
            source="some/images",
            split="val",
            root="r",
            classes_file="classes.txt",
            tokenizer=store,
            test_mode=True,
        ),
        sampler=dict(type="mmengine.DefaultSampler", shuffle=False),
        collate_fn=dict(type="seitpp.identity_collate"),
        pin_memory=False,
    )
    assert cfg.val_dataloader.dataset.type == "seitpp.TokenDataset"


def test_preprocessing_of_the_release_is_what_its_tokenizer_brings(finetune_leaf: Path, repository: Path) -> None:
    cfg = Config.fromfile(finetune_leaf)
    use_images(cfg, "images", tokenizer=str(repository / "configs" / "tokenizers" / "seit_vitvqgan.py"))
    fitting = fitting_of(cfg.test_dataloader.dataset.tokenizer)
    assert (fitting.image_size, fitting.resize_mode, fitting.stride) == ((256, 256), "exact", 8)
    assert cfg.data_preprocessor.tokenizer.checkpoint == "checkpoints/seit_vitvqgan.pth"
    assert cfg.data_preprocessor.crop_size == 28
    assert cfg.test_dataloader.pin_memory


def test_configs_of_other_projects_get_the_guards(config: Callable) -> None:
    cfg = config()
    cfg.pop("default_hooks")
    use_images(cfg, "images")
    assert cfg.default_hooks == dict(
        data_guard=dict(type="seitpp.DataGuardHook"), class_guard=dict(type="seitpp.ClassGuardHook")
    )
    cfg = config()
    cfg.default_hooks.class_guard = dict(type="seitpp.ClassGuardHook", compare_names=False)
    use_images(cfg, "images")
    assert not cfg.default_hooks.class_guard.compare_names


def test_data_preprocessor_of_the_model_is_found(config: Callable, folder: Path) -> None:
    cfg = config()
    cfg.model.data_preprocessor = cfg.pop("data_preprocessor")
    use_images(cfg, "images")
    assert cfg.model.data_preprocessor.tokenizer == f"{folder}/k-means-store"
    assert "data_preprocessor" not in cfg


def test_other_data_preprocessors_are_refused(repository: Path) -> None:
    leaf = repository / "configs" / "tokenadapt" / "tokenadapt_d128_1xb32-60e_photos-32px.py"
    with pytest.raises(ValueError, match=r"has the data preprocessor .*; images are tokenised by a seitpp\.Token"):
        use_images(Config.fromfile(leaf), "images")


def test_config_of_a_segmentor_is_told_what_to_do(repository: Path) -> None:
    leaf = repository / "configs" / "segmentation" / "upernet_vit-tiny-p1_1xb8-4k_scenes-tokens.py"
    with pytest.raises(
        ValueError, match=r"is the config of a segmentor, and --images scores classifiers\. Make a store"
    ):
        use_images(Config.fromfile(leaf), "images")


def test_config_without_a_test_is_refused(config: Callable) -> None:
    cfg = config()
    cfg.test_dataloader = None
    with pytest.raises(ValueError, match=r"k-means-model\.py has no test_dataloader"):
        use_images(cfg, "images")


@pytest.mark.parametrize(("workers", "batch_size"), [(-1, 2), (0, 0)])
def test_impossible_numbers(config: Callable, workers: int, batch_size: int) -> None:
    with pytest.raises(ValueError, match=f"--workers {workers} --batch-size {batch_size}: expected at least 0 and 1"):
        use_images(config(), "images", num_workers=workers, batch_size=batch_size)


REMEDY = r"pass --tokenizer with .*seit_vitvqgan\.py for the tokens of the SeiT release\) or with a store that it made"


def test_release_files_do_not_tell_their_tokenizer(config: Callable, tmp_path: Path) -> None:
    cfg = config()
    cfg.test_dataloader.dataset.update(data_root="", store=str(make_release(tmp_path / "toy")))
    with pytest.raises(ValueError, match=rf"toy-token\.data\.bin\.gz is a file of the release .*; {REMEDY}"):
        use_images(cfg, "images")


def test_imported_stores_do_not_tell_their_tokenizer(config: Callable, tmp_path: Path) -> None:
    cfg = config()
    options = dict(codebook_size=4, grid=(4, 4), tokenizer={"name": "vit-vqgan"}, codebook=make_codebook(4, 8))
    with StoreWriter(tmp_path / "imported", **options) as writer:
        writer.append(np.zeros((1, 4, 4), int))
    cfg.test_dataloader.dataset.update(data_root=str(tmp_path), store="imported")
    with pytest.raises(ValueError, match=rf"imported was imported .*'vit-vqgan' and not how to build it; {REMEDY}"):
        use_images(cfg, "images")
    with pytest.raises(ValueError, match="not how to build it"):
        read_tokenizer(str(tmp_path / "imported"))


def test_weights_of_the_tokenizer_are_missing(config: Callable, folder: Path) -> None:
    cfg = config("vit-vqgan")
    (folder / "tokenizer.pth").rename(folder / "moved.pth")
    try:
        with pytest.raises(ValueError, match=rf"by a ViTVQGAN with the weights .*tokenizer\.pth, which .*; {REMEDY}"):
            use_images(cfg, "images")
    finally:
        (folder / "moved.pth").rename(folder / "tokenizer.pth")


def test_test_store_is_missing(config: Callable) -> None:
    cfg = config()
    cfg.test_dataloader.dataset.store = "not-here"
    with pytest.raises(FileNotFoundError, match=rf"not-here, which would name the tokenizer, is missing; {REMEDY}"):
        use_images(cfg, "images")
    cfg.test_dataloader.dataset = dict(type="mmpretrain.CustomDataset")
    with pytest.raises(ValueError, match=rf"a mmpretrain\.CustomDataset and no token store; {REMEDY}"):
        use_images(cfg, "images")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"tokenizer .*file\.py does not exist; expected a file of configs/tokenizers/, or a store"),
        ("x = 1", r"file\.py has no 'tokenizer'; expected a file of configs/tokenizers/"),
        (
            "tokenizer = dict(type='PatchKMeans', fit=dict())",
            r"is fitted to images, .*give the token store that",
        ),
    ],
)
def test_tokenizer_file_that_is_none(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "file.py").write_text(content)
    with pytest.raises(FileNotFoundError if content is None else ValueError, match=message):
        read_tokenizer(str(tmp_path / "file.py"))


def test_tokenizer_of_another_kind_of_file(tmp_path: Path) -> None:
    (tmp_path / "weights.pth").write_bytes(b"")
    with pytest.raises(ValueError, match=r"weights\.pth is neither a config \(\.py\) nor the folder of a token store"):
        read_tokenizer(str(tmp_path / "weights.pth"))


def test_tokenizer_with_another_codebook_is_refused(config: Callable, build_runner: Callable, folder: Path) -> None:
    cfg = config()
    config("vit-vqgan")
    use_images(cfg, str(folder / "images"), tokenizer=str(folder / "vit-vqgan.py"), num_workers=0)
    with pytest.raises(ValueError, match=r"the ViTVQGAN and the data preprocessor .*belong to different tokenizers"):
        build_runner(cfg).test()
