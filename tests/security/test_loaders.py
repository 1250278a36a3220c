"""Every loader of checkpoints and codebooks is given every payload: it is refused, by name, and nothing in it runs."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import CheckpointLoader, Runner, load_checkpoint

from helpers.classifier import TrainedClassifier
from seitpp.apis import TokenClassificationInferencer, load_classifier
from seitpp.augment import TokenAdaptAugment
from seitpp.converters import convert_tokenizer, export_tokenizer, read_codebook, read_published
from seitpp.io.checkpoint import load_checkpoint_file
from seitpp.models.vq.perceptual import PerceptualLoss
from seitpp.registry import MODELS
from seitpp.storage import StoreReader
from seitpp.tokenizers import PatchKMeans, ViTVQGAN, tokenizer_from_store
from seitpp.tokenizers.codebook import load_codebook

# Loaders that read past what they do not understand, and run none of it: the weights beside a payload are theirs.
INERT = {"read_published", "read_codebook", "convert_tokenizer"}
SIZES = dict(embed_dims=16, num_layers=1, num_heads=2, feedforward_channels=16)
STACK = dict(dims=16, depth=1, num_heads=2, head_dims=8, mlp_dims=16)
VQ = dict(arch=dict(encoder=STACK, decoder=STACK), image_size=20, patch_size=4, codebook_size=16, code_dim=8)


def _initialised(config: dict, path: Path) -> None:
    with DefaultScope.overwrite_default_scope("seitpp"):
        model = MODELS.build({**config, "init_cfg": dict(type="Pretrained", checkpoint=str(path))})
        model.init_weights()


def _perceptual(path: Path) -> None:
    network = dict(type="mmpretrain.VisionTransformer", arch=SIZES, img_size=8, patch_size=4)
    PerceptualLoss({**network, "init_cfg": dict(type="Pretrained", checkpoint=str(path))}).load()


def _token_adapt(path: Path) -> None:
    sizes = dict(codebook_size=5, code_dim=4, grid=4, out_grid=4, dims=8, num_heads=1, head_dims=4, mlp_dims=8)
    augment = TokenAdaptAugment(sizes, path, [dict(type="seitpp.BatchCenterCrop", size=8)])
    codebook = torch.zeros(5, 4)
    augment({"inputs": torch.zeros(1, 4, 4, dtype=torch.int64), "codebook": codebook})


def _into_model(path: Path) -> None:
    load_checkpoint(torch.nn.Linear(2, 2), str(path), map_location="cpu")


@pytest.fixture(scope="module")
def runner(trained: TrainedClassifier, tmp_path_factory: pytest.TempPathFactory) -> Runner:
    cfg = Config.fromfile(trained.config)
    cfg.merge_from_dict(
        dict(
            work_dir=str(tmp_path_factory.mktemp("run")),
            train_cfg=dict(by_epoch=True, max_epochs=1),
            optim_wrapper=dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.1)),
            train_dataloader=dict(
                batch_size=1,
                sampler=dict(type="DefaultSampler"),
                dataset=dict(type="seitpp.TokenDataset", store=str(trained.store)),
            ),
            experiment_name=uuid.uuid4().hex,  # mmengine shares state between runs of one name
        )
    )
    cfg.pop("test_dataloader")
    return Runner.from_cfg(cfg)


@pytest.fixture(scope="module")
def loaders(
    runner: Runner, trained: TrainedClassifier, network: TrainedClassifier, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Callable[[Path], object]]:
    out = tmp_path_factory.mktemp("out") / "out.pth"
    return {
        "load_checkpoint_file": load_checkpoint_file,
        "load_codebook": load_codebook,
        "mmengine's load_checkpoint": _into_model,
        "mmengine's CheckpointLoader": lambda path: CheckpointLoader.load_checkpoint(str(path), map_location="cpu"),
        "Runner.load_checkpoint": lambda path: runner.load_checkpoint(str(path)),
        "Runner.resume": lambda path: runner.resume(str(path)),
        "init_cfg of TokenViT": lambda path: _initialised(dict(type="seitpp.TokenViT", arch=SIZES, grid_size=4), path),
        "init_cfg of mmpretrain's": lambda path: _initialised(
            dict(type="mmpretrain.VisionTransformer", arch=SIZES, img_size=8, patch_size=4), path
        ),
        "TokenAdaptAugment": _token_adapt,
        "ViTVQGAN": lambda path: ViTVQGAN(**VQ, checkpoint=path).codebook,
        "PatchKMeans": lambda path: PatchKMeans(8, 4, codebook=path),
        "tokenizer_from_store": lambda path: tokenizer_from_store(StoreReader(network.store), path),
        "PerceptualLoss": _perceptual,
        "load_classifier": lambda path: load_classifier(trained.config, path),
        "TokenClassificationInferencer": lambda path: TokenClassificationInferencer(trained.config, path, "cpu"),
        "read_published": read_published,
        "read_codebook": read_codebook,
        "convert_tokenizer": lambda path: convert_tokenizer("vitvqgan_small", path, out),
        "export_tokenizer": lambda path: export_tokenizer("vitvqgan_small", path, out),
    }


def tried(load: Callable[[Path], object], path: Path, marker: Path) -> str | None:
    """The message of the refusal, or None where the file was read; a payload must not have run."""
    try:
        load(path)
    except (ValueError, OSError) as error:
        message = str(error)
    else:
        message = None
    assert not marker.exists(), "the payload ran"
    return message


def shapes_of_payload(payloads: ModuleType, weights: dict) -> Iterator[tuple[str, Any]]:
    """Contents of a checkpoint with a payload, by where it is."""
    hidden = payloads.PLACE
    yield "alone", hidden
    yield "a weight", {"state_dict": {**weights, "hidden": hidden}}
    yield "meta", {"meta": {"epoch": 1, "hidden": hidden}, "state_dict": weights}
    yield "optimizer", {"state_dict": weights, "optimizer": {"state": {}, "param_groups": [hidden]}}
    yield "message hub", {"state_dict": weights, "message_hub": {"log_scalars": {"loss": hidden}}}


LOADERS = [
    "load_checkpoint_file",
    "load_codebook",
    "mmengine's load_checkpoint",
    "mmengine's CheckpointLoader",
    "Runner.load_checkpoint",
    "Runner.resume",
    "init_cfg of TokenViT",
    "init_cfg of mmpretrain's",
    "TokenAdaptAugment",
    "ViTVQGAN",
    "PatchKMeans",
    "tokenizer_from_store",
    "PerceptualLoss",
    "load_classifier",
    "TokenClassificationInferencer",
    "read_published",
    "read_codebook",
    "convert_tokenizer",
    "export_tokenizer",
]


@pytest.mark.parametrize("loader", LOADERS)
def test_no_pickle_runs(
    loader: str, loaders: dict, payloads: ModuleType, hostile: Callable, marker: Path, weights: dict
) -> None:
    assert loaders.keys() == set(LOADERS)
    for pickle in payloads.PICKLES:
        path = hostile(pickle, content={"meta": {"hidden": payloads.PLACE}, "state_dict": weights})
        message = tried(loaders[loader], path, marker)
        assert (message is None and loader in INERT) or "hostile.pth" in message, (pickle, message)


@pytest.mark.parametrize("loader", LOADERS)
def test_no_container_is_a_way_in(
    loader: str, loaders: dict, payloads: ModuleType, hostile: Callable, marker: Path
) -> None:
    for container in payloads.CONTAINERS:
        for pickle in ("exec", "attributes-of-allowed-names"):
            for suffix in (".pth", ".npy", ".safetensors"):
                message = tried(loaders[loader], hostile(pickle, container, suffix=suffix), marker)
                assert message is not None and "hostile" in message, (container, suffix, message)


@pytest.mark.parametrize("loader", LOADERS)
def test_no_place_in_a_checkpoint_is_a_way_in(
    loader: str, loaders: dict, payloads: ModuleType, hostile: Callable, marker: Path, weights: dict
) -> None:
    for container in ("zip", "legacy"):
        for place, content in shapes_of_payload(payloads, weights):
            path = hostile("attributes-of-allowed-names", container, content)
            message = tried(loaders[loader], path, marker)
            assert (message is None and loader in INERT) or "hostile.pth" in message, (container, place, message)


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
def test_torch_script_is_refused(
    loader: str, loaders: dict, payloads: ModuleType, marker: Path, tmp_path: Path
) -> None:
    path = tmp_path / "hostile.pth"
    path.write_bytes(payloads.torch_script(marker))
    message = tried(loaders[loader], path, marker)
    assert message is not None and "hostile.pth" in message, message
