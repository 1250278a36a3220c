"""The encoder on tokens: outputs, stems, layer depths, positions, and pre-trained weights."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from seitpp.models import MTM, TokenEmbedding, TokenViT
from seitpp.models.mtm.mtm import sincos_position_table
from seitpp.models.token_vit import table_from_codebook
from seitpp.registry import MODELS

K, D, GRID, WIDTH = 20, 8, 8, 16


@pytest.fixture
def build(arch: dict) -> Callable[..., TokenViT]:
    def make(**options: object) -> TokenViT:
        config = {"arch": arch, "grid_size": GRID, "codebook_size": K, "code_dim": D, **options}
        model = TokenViT(**config)
        model.eval()  # returns None in mmpretrain
        return model

    return make


@pytest.fixture
def mtm_checkpoint(build_mtm: Callable[..., MTM], tmp_path: Path) -> Path:
    """A saved MTM whose encoder has no weight at its initial value."""
    model = build_mtm()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in model.parameters():
            value.normal_(generator=generator)
    torch.save({"meta": {"epoch": 3}, "state_dict": model.state_dict()}, tmp_path / "mtm.pth")
    return tmp_path / "mtm.pth"


def pretrained(path: object, prefix: str | None = "backbone.") -> dict:
    return dict(type="Pretrained", checkpoint=str(path), prefix=prefix)


def edit(path: Path, **changes: Tensor | None) -> None:
    """Changes entries of a checkpoint's backbone; None removes one."""
    content = torch.load(path, weights_only=True)
    for name, value in changes.items():
        key = "backbone." + name.replace("__", ".")
        if value is None:
            del content["state_dict"][key]
        else:
            content["state_dict"][key] = value
    torch.save(content, path)


def test_embedding_is_look_up_and_norm() -> None:
    layer = TokenEmbedding(K, D, drop_rate=0.5).eval()
    torch.nn.init.normal_(layer.norm.weight)
    codes = torch.randint(0, K, (2, 3, 5))
    expected = F.layer_norm(layer.word_embeddings.weight[codes], (D,), layer.norm.weight, layer.norm.bias, 1e-6)
    torch.testing.assert_close(layer(codes), expected.permute(0, 3, 1, 2))


def test_embedding_drops_in_training_only() -> None:
    layer = TokenEmbedding(K, D, drop_rate=0.5)
    codes = torch.randint(0, K, (2, 9, 9))
    assert 0.3 < (layer(codes) == 0).float().mean() < 0.7
    layer.eval()
    assert torch.equal(layer(codes), layer(codes)) and (layer(codes) != 0).all()


def test_embedding_starts_from_a_truncated_normal() -> None:
    layer = TokenEmbedding(391, 32, init_std=0.02)
    layer.init_weights()
    assert layer.word_embeddings.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert (layer.norm.weight == 1).all() and (layer.norm.bias == 0).all()


@pytest.mark.parametrize("code_dim", [6, 7, 32])
def test_embedding_from_a_codebook_keeps_its_distances(tmp_path: Path, code_dim: int) -> None:
    codebook = 3 + torch.randn(K, 6, generator=torch.Generator().manual_seed(0))
    np.save(tmp_path / "codebook.npy", codebook.numpy())
    layer = TokenEmbedding(K, code_dim, init_std=0.02)
    layer.start_from_codebook(tmp_path / "codebook.npy")
    table = layer.word_embeddings.weight.detach()
    assert table.std().item() == pytest.approx(0.02)
    distances, expected = torch.pdist(table), torch.pdist(codebook)
    torch.testing.assert_close(distances / distances.mean(), expected / expected.mean())
    assert (table.mean(dim=0).norm() < 1e-6) == (code_dim == 6)  # with room for it there is a constant


def test_embedding_from_a_codebook_tells_flat_patches_apart() -> None:
    grey = torch.linspace(0, 1, 5)[:, None].expand(5, 4)  # norms of these are all 0
    vectors = F.layer_norm(table_from_codebook(grey, 32, 0.02), (32,))
    cosines = F.cosine_similarity(vectors[:, None], vectors[None], dim=-1)
    assert cosines[~torch.eye(5, dtype=torch.bool)].max() < 0.95


def test_embedding_from_a_codebook_leaves_random_numbers_to_others(
    build: Callable[..., TokenViT], tmp_path: Path
) -> None:
    np.save(tmp_path / "codebook.npy", np.eye(K, D, dtype=np.float32))
    states = []
    for options in ({}, {"token_codebook": tmp_path / "codebook.npy"}):
        torch.manual_seed(0)
        model = build(**options)
        model.init_weights()
        states.append(model.state_dict())
    changed = [name for name, value in states[0].items() if not torch.equal(value, states[1][name])]
    assert changed == ["token_embed.word_embeddings.weight"]


def test_codebook_is_not_read_where_weights_are_pretrained(
    build: Callable[..., TokenViT], mtm_checkpoint: Path, tmp_path: Path
) -> None:
    build(final_norm=True, token_codebook=tmp_path / "none.npy", init_cfg=pretrained(mtm_checkpoint)).init_weights()


@pytest.mark.parametrize("shape", [(K + 1, D), (K, D + 1)])
def test_embedding_from_another_codebook_is_refused(tmp_path: Path, shape: tuple[int, int]) -> None:
    np.save(tmp_path / "codebook.npy", np.eye(*shape, dtype=np.float32))
    with pytest.raises(ValueError, match=rf"has {shape[0]} vectors of {shape[1]} values; .* at most 8"):
        TokenEmbedding(K, D).start_from_codebook(tmp_path / "codebook.npy")


def test_embedding_from_equal_vectors_is_refused() -> None:
    with pytest.raises(ValueError, match="all 3 vectors of the codebook are the same"):
        table_from_codebook(torch.ones(3, 2), 4, 0.02)


def test_codebook_for_a_backbone_of_embeddings_is_refused(build: Callable[..., TokenViT]) -> None:
    with pytest.raises(ValueError, match="token_codebook is a store, but a backbone of embeddings has no token"):
        build(codebook_size=None, token_codebook="a store")


def test_drop_rate_reaches_the_embedding(build: Callable[..., TokenViT]) -> None:
    assert build(token_drop_rate=0.3).token_embed.dropout.p == 0.3


def test_out_indices_give_several_feature_maps(build: Callable[..., TokenViT], codes: Tensor) -> None:
    model = build(out_indices=[0, 1], out_type="featmap")
    torch.nn.init.normal_(model.pos_embed)
    features = model(codes)
    assert [tuple(feature.shape) for feature in features] == [(6, WIDTH, 4, 4)] * 2
    last = build(out_type="raw")
    last.load_state_dict(model.state_dict())
    sequence = last(codes)[0]  # class token first, then places row by row
    torch.testing.assert_close(features[1][:, :, 1, 2], sequence[:, 1 + 1 * 4 + 2])


def test_average_leaves_out_the_class_token_and_comes_before_the_norm(
    build: Callable[..., TokenViT], codes: Tensor
) -> None:
    model, raw = build(out_type="avg_featmap", final_norm=False), build(out_type="raw", final_norm=False)
    weights = model.state_dict()
    raw.load_state_dict({name: value for name, value in weights.items() if not name.startswith("ln2")})
    expected = F.layer_norm(raw(codes)[0][:, 1:].mean(dim=1), (WIDTH,), eps=1e-6)
    torch.testing.assert_close(model(codes)[0], expected)


def test_codes_equal_embeddings_through_the_same_network(build: Callable[..., TokenViT], codes: Tensor) -> None:
    on_codes, on_embeddings = build(), build(codebook_size=None)
    assert on_embeddings.token_embed is None
    weights = on_codes.state_dict()
    on_embeddings.load_state_dict({k: v for k, v in weights.items() if not k.startswith("token_embed")})
    torch.testing.assert_close(on_embeddings(on_codes.token_embed(codes))[0], on_codes(codes)[0])


def test_embeddings_given_to_a_backbone_of_codes_are_refused(build: Callable[..., TokenViT]) -> None:
    with pytest.raises(ValueError, match=r"takes codes but was given embeddings \(2, 8, 8, 8\); set output='codes'"):
        build()(torch.zeros(2, D, GRID, GRID))


def test_codes_given_to_a_backbone_of_embeddings_are_refused(build: Callable[..., TokenViT], codes: Tensor) -> None:
    with pytest.raises(ValueError, match=r"takes embeddings but was given codes \(6, 8, 8\); set its codebook_size"):
        build(codebook_size=None)(codes)


def test_stem_adapter_takes_28_to_14(arch: dict) -> None:
    model = TokenViT(
        arch=arch,
        grid_size=28,
        patch_size=2,
        code_dim=32,
        patch_cfg=dict(kernel_size=4, stride=2, padding=1),
        out_type="featmap",
    )
    assert tuple(model.patch_resolution) == (14, 14) and model.pos_embed.shape == (1, 197, WIDTH)
    assert model.patch_embed.projection.weight.shape == (WIDTH, 32, 4, 4)
    embeddings = torch.randn(2, 32, 28, 28)
    assert model(embeddings)[0].shape == (2, WIDTH, 14, 14)
    stem = F.conv2d(embeddings, *model.patch_embed.projection.parameters(), stride=2, padding=1)
    torch.testing.assert_close(model.patch_embed(embeddings)[0], stem.flatten(2).transpose(1, 2))


@pytest.mark.parametrize("patch_size", [1, 2, 4])
def test_patch_size_sets_the_number_of_places(build: Callable[..., TokenViT], codes: Tensor, patch_size: int) -> None:
    model = build(patch_size=patch_size, out_type="raw")
    assert model(codes)[0].shape == (6, 1 + (GRID // patch_size) ** 2, WIDTH)


def test_layer_depths(build: Callable[..., TokenViT]) -> None:
    model = build(out_type="avg_featmap", final_norm=False)
    depths: dict[str, set[int]] = {}
    for name, _ in model.named_parameters():
        depth, number = model.get_layer_depth(f"backbone.{name}", "backbone.")
        assert number == 2 + 2  # stem, two blocks, what follows
        group = re.sub(r"^layers\.(\d+)\..*", r"layer\1", name).split(".")[0]
        depths.setdefault(group, set()).add(depth)
    assert depths == {
        "cls_token": {0},
        "pos_embed": {0},
        "patch_embed": {0},
        "layer0": {1},
        "layer1": {2},
        "ln2": {3},
        "token_embed": {3},
    }
    assert model.get_layer_depth("head.fc.weight", "backbone.") == (3, 4)


def test_positions_are_resized_to_another_grid(build: Callable[..., TokenViT]) -> None:
    model = build(out_type="raw")
    torch.nn.init.normal_(model.pos_embed)
    assert model(torch.zeros(2, 12, 10, dtype=torch.int64))[0].shape == (2, 1 + 6 * 5, WIDTH)


def test_positions_of_a_checkpoint_are_resized(build: Callable[..., TokenViT], mtm_checkpoint: Path) -> None:
    source = torch.load(mtm_checkpoint, weights_only=True)["state_dict"]["backbone.pos_embed"]
    model = build(grid_size=12, init_cfg=pretrained(mtm_checkpoint))
    model.init_weights()
    assert model.pos_embed.shape == (1, 1 + 36, WIDTH)
    torch.testing.assert_close(model.pos_embed[:, :1], source[:, :1])
    grid = source[:, 1:].view(1, 4, 4, WIDTH).permute(0, 3, 1, 2)
    expected = F.interpolate(grid, size=(6, 6), mode="bicubic", align_corners=False).flatten(2).transpose(1, 2)
    torch.testing.assert_close(model.pos_embed[:, 1:], expected)


@pytest.mark.parametrize("prefix", ["backbone.", "backbone"])
def test_classifier_loads_the_whole_encoder_of_mtm(
    build: Callable[..., TokenViT], mtm_checkpoint: Path, prefix: str
) -> None:
    source = torch.load(mtm_checkpoint, weights_only=True)["state_dict"]
    model = build(out_type="avg_featmap", final_norm=False, init_cfg=pretrained(mtm_checkpoint, prefix))
    model.init_weights()
    assert {name for name in model.state_dict() if name.startswith("ln")} == {"ln2.weight", "ln2.bias"}
    for name, value in model.state_dict().items():
        assert torch.equal(value, source["backbone." + name.replace("ln2.", "ln1.", name.startswith("ln2"))]), name


def test_encoder_with_two_norms_needs_both(build: Callable[..., TokenViT], mtm_checkpoint: Path) -> None:
    with pytest.raises(ValueError, match=r"does not fit the model: missing keys: ln2\.weight, ln2\.bias$"):
        build(out_type="avg_featmap", init_cfg=pretrained(mtm_checkpoint)).init_weights()


def test_encoder_without_a_norm_leaves_it_out(build: Callable[..., TokenViT], mtm_checkpoint: Path) -> None:
    model = build(out_type="featmap", final_norm=False, init_cfg=pretrained(mtm_checkpoint))
    model.init_weights()
    source = torch.load(mtm_checkpoint, weights_only=True)["state_dict"]
    assert not any(name.startswith("ln") for name in model.state_dict())
    assert torch.equal(model.layers[1].ln2.weight, source["backbone.layers.1.ln2.weight"])


def test_mtm_continues_from_its_own_encoder(build_mtm: Callable[..., MTM], mtm_checkpoint: Path) -> None:
    source = torch.load(mtm_checkpoint, weights_only=True)["state_dict"]
    model = build_mtm(backbone={"init_cfg": pretrained(mtm_checkpoint)})
    for name, value in model.backbone.state_dict().items():
        assert torch.equal(value, source[f"backbone.{name}"]), name


def test_weights_without_prefix_are_loaded(build: Callable[..., TokenViT], tmp_path: Path) -> None:
    source = build()
    torch.nn.init.normal_(source.ln1.weight)
    torch.save(source.state_dict(), tmp_path / "a.pth")
    model = build(init_cfg=dict(type="Pretrained", checkpoint=str(tmp_path / "a.pth")))
    model.init_weights()
    assert all(torch.equal(value, source.state_dict()[name]) for name, value in model.state_dict().items())


def test_without_pretrained_weights_positions_are_drawn(build: Callable[..., TokenViT]) -> None:
    model = build()
    assert model.pretrained_from is None
    model.init_weights()
    assert model.pos_embed.std().item() == pytest.approx(0.02, rel=0.2)


def test_encoder_of_mtm_starts_with_sine_cosine_positions(arch: dict) -> None:
    model = MODELS.build(
        dict(type="seitpp.MTMViT", arch=arch, grid_size=(8, 12), patch_size=2, codebook_size=K, code_dim=D)
    )
    model.init_weights()
    assert model.num_patches == 24
    assert torch.equal(model.pos_embed, sincos_position_table((4, 6), WIDTH, cls_token=True))


def test_wrong_prefix_is_refused(build: Callable[..., TokenViT], mtm_checkpoint: Path) -> None:
    with pytest.raises(ValueError, match=r"has no key that begins with 'encoder\.'; it holds .*and \d+ more"):
        build(init_cfg=pretrained(mtm_checkpoint, "encoder")).init_weights()


def test_missing_prefix_is_refused(build: Callable[..., TokenViT], mtm_checkpoint: Path) -> None:
    with pytest.raises(
        ValueError, match=r"has no key in common with the model; it holds .*, the model expects cls_token"
    ):
        build(init_cfg=pretrained(mtm_checkpoint, None)).init_weights()


def test_checkpoint_in_the_releases_names_is_refused(build: Callable[..., TokenViT], tmp_path: Path) -> None:
    torch.save({"model": {"blocks.0.attn.qkv.weight": torch.zeros(3, 3)}}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"does it need tools/convert_checkpoint\.py\?"):
        build(init_cfg=pretrained(tmp_path / "a.pth", None)).init_weights()


def test_wrong_shapes_are_refused(build: Callable[..., TokenViT], mtm_checkpoint: Path) -> None:
    with pytest.raises(ValueError, match=r"token_embed.*\(20, 8\) where the model has \(21, 8\)\. Name one that"):
        build(codebook_size=21, init_cfg=pretrained(mtm_checkpoint)).init_weights()


OVERLAPPING = dict(kernel_size=4, stride=2, padding=1)


def test_inflated_stem_starts_as_the_same_function(
    build: Callable[..., TokenViT], mtm_checkpoint: Path, codes: Tensor
) -> None:
    options = dict(out_type="featmap", final_norm=False, init_cfg=pretrained(mtm_checkpoint))
    plain, inflated = build(**options), build(patch_cfg=OVERLAPPING, inflate_stem=True, **options)
    plain.init_weights()
    inflated.init_weights()
    torch.testing.assert_close(inflated(codes), plain(codes))
    weight = inflated.patch_embed.projection.weight
    assert torch.equal(weight[..., 1:3, 1:3], plain.patch_embed.projection.weight)
    assert torch.count_nonzero(weight).item() == torch.count_nonzero(plain.patch_embed.projection.weight).item()
    inflated(codes)[0].square().sum().backward()
    assert (weight.grad.abs().sum(dim=(0, 1)) > 0).all()


def test_inflating_changes_no_weights_of_the_larger_stem_itself(build: Callable[..., TokenViT], tmp_path: Path) -> None:
    source = build(patch_cfg=OVERLAPPING)
    torch.save(source.state_dict(), tmp_path / "a.pth")
    model = build(patch_cfg=OVERLAPPING, inflate_stem=True, init_cfg=pretrained(tmp_path / "a.pth", None))
    model.init_weights()
    assert torch.equal(model.patch_embed.projection.weight, source.patch_embed.projection.weight)


def test_larger_stem_is_refused_unless_it_is_to_be_inflated(
    build: Callable[..., TokenViT], mtm_checkpoint: Path
) -> None:
    with pytest.raises(ValueError, match=r"wrong shapes: patch_embed\.projection\.weight \(16, 8, 2, 2\) where"):
        build(patch_cfg=OVERLAPPING, init_cfg=pretrained(mtm_checkpoint)).init_weights()


@pytest.mark.parametrize(
    "stem",
    [
        dict(kernel_size=4, stride=1, padding=1),
        dict(kernel_size=4, stride=2, padding=0),
        dict(kernel_size=3, stride=2, padding=1),
        dict(kernel_size=4, stride=2, padding=1, dilation=2),
    ],
)
def test_stem_over_other_tokens_is_not_inflated(
    build: Callable[..., TokenViT], mtm_checkpoint: Path, stem: dict
) -> None:
    with pytest.raises(ValueError, match=r"inflate_stem: patch_cfg has kernel_size=.*needs stride=\(2, 2\)"):
        build(patch_cfg=stem, inflate_stem=True, init_cfg=pretrained(mtm_checkpoint)).init_weights()


def test_missing_weight_is_refused(build: Callable[..., TokenViT], mtm_checkpoint: Path) -> None:
    edit(mtm_checkpoint, layers__1__attn__qkv__weight=None)
    with pytest.raises(ValueError, match=r"missing keys: layers\.1\.attn\.qkv\.weight$"):
        build(init_cfg=pretrained(mtm_checkpoint)).init_weights()


def test_missing_file_is_refused(build: Callable[..., TokenViT], tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist"):
        build(init_cfg=pretrained(tmp_path / "none.pth")).init_weights()


class Payload:
    """Would create a folder when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


def test_code_in_pretrained_weights_is_not_run(
    build: Callable[..., TokenViT], mtm_checkpoint: Path, tmp_path: Path
) -> None:
    content = torch.load(mtm_checkpoint, weights_only=True)
    torch.save({**content, "args": Payload(tmp_path / "ran")}, mtm_checkpoint)
    with pytest.raises(ValueError, match="nothing in it was run"):
        build(init_cfg=pretrained(mtm_checkpoint)).init_weights()
    assert not (tmp_path / "ran").exists()


def test_deeper_encoder_is_refused(build: Callable, build_mtm: Callable, arch: dict, tmp_path: Path) -> None:
    deep = build_mtm().backbone
    weights = {f"backbone.{name}": value for name, value in deep.state_dict().items()}
    weights.update({name.replace("e.layers.1.", "e.layers.2."): value for name, value in weights.items()})
    torch.save(weights, tmp_path / "deep.pth")
    with pytest.raises(ValueError, match=r"does not fit the model: unknown keys: layers\.2\."):
        build(init_cfg=pretrained(tmp_path / "deep.pth")).init_weights()


def test_token_embedding_is_not_dropped_in_silence(build: Callable, mtm_checkpoint: Path) -> None:
    with pytest.raises(ValueError, match=r"unknown keys: token_embed\.word_embeddings\.weight"):
        build(codebook_size=None, init_cfg=pretrained(mtm_checkpoint)).init_weights()


def test_other_encoders_drop_the_mask_vector_without_a_warning(build: Callable, build_mtm: Callable) -> None:
    weights = build_mtm().backbone.state_dict()
    assert "mask_token" in weights
    build(out_type="raw").load_state_dict(weights)  # strict
