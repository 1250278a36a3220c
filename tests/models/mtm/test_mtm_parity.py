"""MTM, its classifier and SeiT's against numbers of the reference; every size comes from the fixture."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import DefaultScope
from mmpretrain.structures import DataSample

from helpers.golden import load_golden
from seitpp.converters import from_release
from seitpp.models.mtm.masking import Masks
from seitpp.models.mtm.mtm import MTM, masked_code_loss, patchify_codes, sincos_position_table
from seitpp.models.token_vit import TokenViT
from seitpp.registry import MODELS

pytestmark = pytest.mark.parity


def weights_of(golden: dict) -> dict[str, torch.Tensor]:
    return {key[3:]: torch.from_numpy(value) for key, value in golden.items() if key.startswith("sd/")}


def arch_of(config: dict) -> dict:
    return dict(
        embed_dims=config["embed_dim"],
        num_layers=config["depth"],
        num_heads=config["num_heads"],
        feedforward_channels=int(config["embed_dim"] * config["mlp_ratio"]),
    )


def encoder_sizes(golden: dict) -> dict:
    """Sizes of the encoder, read off the weights where the meta does not state them."""
    weights = weights_of(golden)
    if "in/x" in golden:  # embeddings, which the Stem-Adapter takes
        kernel = weights["patch_embed.proj.weight"].shape[-1]
        return dict(
            arch=arch_of(golden["meta"]["config"]),
            grid_size=golden["in/x"].shape[-2:],
            patch_size=kernel // 2,
            codebook_size=None,
            code_dim=golden["in/x"].shape[1],
            patch_cfg=dict(kernel_size=kernel, stride=kernel // 2, padding=kernel // 4),
        )
    codebook_size, code_dim = weights["token_emb.word_embeddings.weight"].shape
    return dict(
        arch=arch_of(golden["meta"]["config"]),
        grid_size=golden["in/codes"].shape[1:],
        patch_size=weights["patch_embed.proj.weight"].shape[-1],
        codebook_size=codebook_size,
        code_dim=code_dim,
    )


def build_mtm(golden: dict) -> MTM:
    config, sizes = golden["meta"]["config"], encoder_sizes(golden)
    num_patches = golden["in/noise"].shape[1]
    model = MTM(
        backbone=dict(type="seitpp.MTMViT", **sizes),
        neck=dict(
            type="seitpp.MTMPretrainDecoder",
            num_patches=num_patches,
            embed_dims=config["embed_dim"],
            decoder_embed_dims=config["decoder_embed_dim"],
            num_layers=config["decoder_depth"],
            num_heads=config["decoder_num_heads"],
            mlp_ratio=config["mlp_ratio"],
        ),
        head=dict(
            type="seitpp.MTMPretrainHead",
            codebook_size=sizes["codebook_size"],
            code_dim=sizes["code_dim"],
            decoder_embed_dims=config["decoder_embed_dim"],
            patch_size=sizes["patch_size"],
        ),
        mask_ratio=dict(low=config["mask_ratio_min"]),
        eval_mask_ratio=1.0,  # not used here, and never below the smallest ratio
        data_preprocessor=dict(
            type="seitpp.TokenDataPreprocessor", codebook=torch.zeros(sizes["codebook_size"], sizes["code_dim"])
        ),
    )
    renamed, _ = from_release(weights_of(golden), "mtm")
    missing, unexpected = model.load_state_dict(renamed, strict=False)
    assert missing == [] and unexpected == []  # the codebook is filled in by the preprocessor's loading hook
    return model.eval()


def masks_for(model: MTM, golden: dict, ratio: float) -> Masks:
    return model.make_masks(torch.from_numpy(golden["in/noise"]), ratio)


def assert_close(found: torch.Tensor, expected: np.ndarray, atol: float, rtol: float = 0.0) -> None:
    torch.testing.assert_close(found.detach(), torch.as_tensor(expected), atol=atol, rtol=rtol, check_dtype=False)


@pytest.fixture(scope="module")
def golden() -> dict:
    return load_golden("mtm_forward.npz")


@pytest.fixture(scope="module")
def model(golden: dict) -> MTM:
    return build_mtm(golden)


def test_masks(golden: dict, model: MTM) -> None:
    masks = masks_for(model, golden, golden["meta"]["mask_ratio"])
    assert masks.ids_mask.shape[1] == golden["meta"]["num_masked"]
    num_patches = masks.mask.shape[1]
    assert num_patches - masks.ids_keep.shape[1] == golden["meta"]["num_dropped"]
    assert_close(masks.mask.float(), golden["out/all_mask"][:, 1:], atol=0)
    dropped = torch.ones_like(masks.mask, dtype=torch.float32).scatter_(1, masks.ids_keep, 0)
    assert_close(dropped, golden["out/drop_mask"][:, 1:], atol=0)


def test_latent_and_logits(golden: dict, model: MTM) -> None:
    codes = torch.from_numpy(golden["in/codes"])
    masks = masks_for(model, golden, golden["meta"]["mask_ratio"])
    latent = model.backbone(codes, masks)
    assert_close(latent, golden["out/latent"], atol=5e-6)
    patch_logits = model.head(model.neck(latent, masks), model.embedding_table)  # (B, N, T, K)
    batch, rows, columns = codes.shape
    side = model.head.patch_size
    logits = patch_logits.view(batch, rows // side, columns // side, side, side, -1).transpose(2, 3)
    logits = logits.reshape(batch, rows * columns, -1)
    assert_close(logits[:, torch.from_numpy(golden["in/logit_idx"])], golden["out/logits"], atol=2e-5)
    assert_close(logits.argmax(-1), golden["out/logits_argmax"], atol=0)
    assert_close(logits.logsumexp(-1), golden["out/logits_lse"], atol=2e-5)
    true = logits.gather(-1, codes.view(batch, -1, 1)).squeeze(-1)
    assert_close(true, golden["out/logits_target"], atol=2e-5)


@pytest.mark.parametrize(
    ("key", "ratio", "options"),
    [
        ("loss", None, {}),
        ("loss_ls01", None, {"label_smooth_val": 0.1}),
        ("loss_bce", None, {"use_sigmoid": True}),
        ("loss_ratio_min", "min", {}),
        ("loss_ratio_full", 1.0, {}),
    ],
)
def test_losses(golden: dict, model: MTM, key: str, ratio: float | str | None, options: dict) -> None:
    meta = golden["meta"]
    value = {None: meta["mask_ratio"], "min": meta["config"]["mask_ratio_min"]}.get(ratio, ratio)
    codes = torch.from_numpy(golden["in/codes"])
    masks = masks_for(model, golden, value)
    decoded = model.neck(model.backbone(codes, masks), masks)
    logits, targets = model.head.masked_logits(decoded, codes, masks, model.embedding_table)
    assert_close(masked_code_loss(logits, targets, **options), golden[f"out/{key}"], atol=0, rtol=1e-5)


def test_loss_in_float64(golden: dict) -> None:
    double = build_mtm(golden).double()
    codes = torch.from_numpy(golden["in/codes"])
    masks = masks_for(double, golden, golden["meta"]["mask_ratio"])
    decoded = double.neck(double.backbone(codes, masks), masks)
    logits, targets = double.head.masked_logits(decoded, codes, masks, double.embedding_table)
    loss = F.cross_entropy(logits.flatten(0, 2), targets.flatten())
    assert_close(loss, golden["out/loss_float64"], atol=0, rtol=1e-6)


def gradients(golden: dict, smoothing: float = 0.0) -> dict[str, torch.Tensor | None]:
    """Gradients of the loss by the release's names."""
    model = build_mtm(golden)
    model.head.label_smooth_val = smoothing
    codes = torch.from_numpy(golden["in/codes"])
    model.loss_on_masks(codes, masks_for(model, golden, golden["meta"]["mask_ratio"]))["loss"].backward()
    parameters = dict(model.named_parameters())
    return {theirs: parameters[ours].grad for theirs, ours in our_names(golden, "mtm").items()}


@pytest.mark.parametrize(("prefix", "smoothing"), [("grad/", 0.0), ("grad_ls01/", 0.1)])
def test_gradients(golden: dict, prefix: str, smoothing: float) -> None:
    grads = gradients(golden, smoothing)
    checked = [key for key in golden if key.startswith(prefix)]
    assert checked
    for key in checked:
        assert_close(grads[key.removeprefix(prefix)], golden[key], atol=1e-6, rtol=1e-4)


def test_gradient_norm_of_every_trained_weight(golden: dict) -> None:
    grads = gradients(golden)
    norms = golden["meta"]["grad_norms"]
    assert set(norms) <= set(grads)
    for name, norm in norms.items():
        assert grads[name].norm().item() == pytest.approx(norm, rel=1e-4, abs=1e-6), name
    without = set(grads) - set(norms)
    assert without <= set(golden["meta"]["params_without_grad"])
    assert all(grads[name] is None for name in without)


def our_names(golden: dict, layout: str) -> dict[str, str]:
    """Release name to our name of every weight that has both, by converting positions in place of weights."""
    theirs = list(weights_of(golden))
    renamed, _ = from_release({name: torch.tensor(place) for place, name in enumerate(theirs)}, layout)
    return {theirs[int(place)]: ours for ours, place in renamed.items()}


def test_finetune_forward() -> None:
    golden = load_golden("mtm_finetune_forward.npz")
    renamed, _ = from_release(weights_of(golden), "mtm-classifier")
    backbone_weights = {k.removeprefix("backbone."): v for k, v in renamed.items() if k.startswith("backbone.")}
    sizes = encoder_sizes(golden)
    codes = torch.from_numpy(golden["in/codes"])

    pooled = TokenViT(**sizes, out_type="avg_featmap", final_norm=False)
    pooled.eval()  # returns None in mmpretrain
    pooled.load_state_dict(backbone_weights)
    features = pooled(codes)[-1]
    assert_close(features, golden["out/features"], atol=2e-5)
    logits = F.linear(features, renamed["head.fc.weight"], renamed["head.fc.bias"])
    assert_close(logits, golden["out/logits"], atol=2e-5)

    cls = TokenViT(**sizes, out_type="cls_token")
    cls.eval()
    cls.load_state_dict(dict(backbone_weights))  # the loading hook gives the norm the name it has here
    cls_logits = F.linear(cls(codes)[-1], renamed["head.fc.weight"], renamed["head.fc.bias"])
    assert_close(cls_logits, golden["out/logits_cls_pool"], atol=2e-5)


def test_seit_forward() -> None:
    golden = load_golden("seit_classifier_forward.npz")
    renamed, _ = from_release(weights_of(golden), "seit-classifier")
    backbone = TokenViT(**encoder_sizes(golden), out_type="avg_featmap", final_norm=False)
    backbone.eval()
    backbone.load_state_dict({k.removeprefix("backbone."): v for k, v in renamed.items() if k.startswith("backbone.")})
    embeddings = torch.from_numpy(golden["in/x"])
    assert_close(backbone.patch_embed(embeddings)[0], golden["out/patch_tokens"], atol=2e-5)
    features = backbone(embeddings)[-1]
    assert_close(features, golden["out/features"], atol=2e-5)
    logits = F.linear(features, renamed["head.fc.weight"], renamed["head.fc.bias"])
    assert_close(logits, golden["out/logits"], atol=2e-5)


@pytest.mark.parametrize(
    ("fixture", "layout", "inputs"),
    [
        ("mtm_finetune_forward.npz", "mtm-classifier", "in/codes"),
        ("seit_classifier_forward.npz", "seit-classifier", "in/x"),
    ],
)
def test_classifier_loss_and_gradients(fixture: str, layout: str, inputs: str) -> None:
    golden = load_golden(fixture)
    renamed, _ = from_release(weights_of(golden), layout)
    sizes = encoder_sizes(golden)
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        model = MODELS.build(
            dict(
                type="mmpretrain.ImageClassifier",
                data_preprocessor=dict(type="seitpp.TokenDataPreprocessor", codebook=torch.zeros(2, 2)),
                backbone=dict(type="seitpp.TokenViT", **sizes, out_type="avg_featmap", final_norm=False),
                head=dict(
                    type="LinearClsHead",
                    num_classes=len(renamed["head.fc.weight"]),
                    in_channels=sizes["arch"]["embed_dims"],
                    loss=dict(type="CrossEntropyLoss"),
                ),
            )
        ).eval()
    model.load_state_dict(renamed)
    samples = [DataSample().set_gt_label(int(label)) for label in golden["in/labels"]]
    loss = model.loss(torch.from_numpy(golden[inputs]), samples)["loss"]
    assert_close(loss, golden["out/loss"], atol=0, rtol=1e-5)
    loss.backward()
    names, parameters = our_names(golden, layout), dict(model.named_parameters())
    checked = [key for key in golden if key.startswith("grad/")]
    assert checked
    for key in checked:
        assert_close(parameters[names[key.removeprefix("grad/")]].grad, golden[key], atol=1e-6, rtol=1e-4)


def test_sincos_tables() -> None:
    golden = load_golden("sincos.npz")
    checked = 0
    for key, expected in golden.items():
        kind, _, rest = key.removeprefix("out/").partition("_d")
        if kind not in ("plain", "cls", "float64"):
            continue
        dims, _, grid = rest.partition("_g")
        rows, _, columns = grid.partition("x")
        table = sincos_position_table((int(rows), int(columns or rows)), int(dims), cls_token=kind == "cls")
        assert_close(table[0], expected, atol=2e-6)
        checked += 1
    assert checked == sum(key.startswith("out/") for key in golden)


def test_patches_are_taken_row_by_row(golden: dict) -> None:
    side, rows = golden["sd/patch_embed.proj.weight"].shape[-1], golden["in/codes"].shape[1]
    columns = golden["in/codes"].shape[2]
    patches = patchify_codes(torch.arange(rows * columns).view(1, rows, columns), side)
    assert patches.shape == (1, golden["in/noise"].shape[1], side * side)
    assert patches[0, 1].tolist() == [row * columns + side + column for row in range(side) for column in range(side)]
    assert patches[0, columns // side, 0] == side * columns
