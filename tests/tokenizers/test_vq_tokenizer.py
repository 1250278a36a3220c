"""What tokenizers with networks share: steps, precision, subsets, loading, identity, and coming back from a store."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from seitpp.io.checkpoint import save_weights
from seitpp.registry import TOKENIZERS
from seitpp.storage import StoreReader, StoreWriter
from seitpp.storage.code_table import CodeTable
from seitpp.tokenizers import VQGAN, ViTVQGAN, VQTokenizer, changed_share, tokenizer_from_store, vit_vqgan, vqgan

STACK = {"dims": 16, "depth": 2, "num_heads": 2, "mlp_dims": 32}
CONVOLUTIONS = {
    "channels": 32,
    "multipliers": (1, 1),
    "num_res_blocks": 1,
    "attention_at": (8,),
    "resolution": 16,
    "z_channels": 6,
    "codebook_size": 40,
    "code_dim": 6,
}
BUILDERS: dict[str, Callable[..., VQTokenizer]] = {
    "vit": lambda **options: ViTVQGAN(
        **{
            "arch": {"encoder": STACK, "decoder": STACK},
            "codebook_size": 40,
            "code_dim": 6,
            "image_size": 16,
            "patch_size": 4,
            **options,
        }
    ),
    **{
        quantizer: lambda quantizer=quantizer, **options: VQGAN(
            **{"arch": {**CONVOLUTIONS, "quantizer": quantizer}, "image_size": 16, **options}
        )
        for quantizer in ("euclidean", "cosine", "logits")
    },
}
every_kind = pytest.mark.parametrize("kind", BUILDERS)


def build(kind: str, seed: int = 0, **options: Any) -> VQTokenizer:
    torch.manual_seed(seed)
    return BUILDERS[kind](**options).eval()


def images_for(tokenizer: VQTokenizer, count: int = 5, seed: int = 1) -> Tensor:
    low, high = tokenizer.pixel_range
    unit = torch.rand(count, 3, *tokenizer.image_size, generator=torch.Generator().manual_seed(seed))
    return unit * (high - low) + low


def saved(tokenizer: VQTokenizer, path: Path, drop: str | None = None, prefix: str = "", **meta: str) -> Path:
    """Its weights in a file of ours."""
    weights = {
        prefix + name: value
        for name, value in tokenizer.state_dict().items()
        if drop is None or not name.startswith(drop)
    }
    save_weights(path, weights, meta)
    return path


@every_kind
def test_steps_make_encode_and_decode(kind: str) -> None:
    tokenizer = build(kind)
    images = images_for(tokenizer)
    vectors = tokenizer.embed(images)
    codes = tokenizer.quantize(vectors)
    assert vectors.shape == (5, 6, *tokenizer.grid) and codes.shape == (5, *tokenizer.grid)
    assert codes.dtype == torch.int64 and torch.equal(codes, tokenizer.encode(images))
    rows = tokenizer.lookup(codes)
    assert rows.shape == vectors.shape
    assert torch.equal(tokenizer.reconstruct(rows), tokenizer.decode(codes))
    assert tokenizer.decode(codes).shape == images.shape


@every_kind
def test_codes_are_the_nearest_rows_by_the_distance(kind: str) -> None:
    tokenizer = build(kind)
    vectors = torch.randn(2, 6, 3, 4).double()
    rows, flat = tokenizer.codebook.detach().double(), vectors.movedim(1, -1).reshape(-1, 6)
    if tokenizer.distance == "cosine":
        rows, flat = F.normalize(rows, dim=-1), F.normalize(flat, dim=-1)
    expected = torch.cdist(flat, rows).argmin(dim=1)
    if kind == "logits":
        scores = tokenizer.code_scores
        expected = (flat @ scores.weight.double().flatten(1).T + scores.bias.double()).argmax(dim=1)
    assert torch.equal(tokenizer.quantize(vectors).flatten(), expected)


@every_kind
def test_lookup_gives_rows_or_unit_rows(kind: str) -> None:
    tokenizer = build(kind)
    codes = torch.tensor([[[3, 0], [39, 3]]])
    rows = tokenizer.codebook.detach()
    rows = F.normalize(rows, dim=-1) if tokenizer.distance == "cosine" else rows
    torch.testing.assert_close(tokenizer.lookup(codes)[0, :, 1, 0], rows[39])
    torch.testing.assert_close(tokenizer.lookup(codes.to(torch.uint8)), rows[codes].movedim(-1, 1))


@every_kind
def test_any_batch_gives_the_same_codes(kind: str) -> None:
    tokenizer = build(kind, codebook=torch.randn(40, 6, generator=torch.Generator().manual_seed(7)))
    images = images_for(tokenizer, 9)
    codes = tokenizer.encode(images)
    for size in (1, 2, 4):
        assert torch.equal(codes, torch.cat([tokenizer.encode(batch) for batch in images.split(size)]))
    assert torch.equal(codes, tokenizer.tokenize(images, batch_size=4))


@every_kind
def test_gradients_reach_every_weight_but_through_the_choice_of_codes(kind: str) -> None:
    tokenizer = build(kind)
    vectors = tokenizer.embed(images_for(tokenizer, 2))
    codes = tokenizer.quantize(vectors)
    rows = tokenizer.lookup(codes)
    loss = tokenizer.reconstruct(vectors + (rows - vectors).detach()).square().mean() + (rows - vectors).square().mean()
    loss.backward()
    without = [name for name, value in tokenizer.named_parameters() if value.grad is None]
    assert without == (["code_scores.weight", "code_scores.bias"] if kind == "logits" else [])


@every_kind
def test_encode_and_decode_keep_no_graph(kind: str) -> None:
    tokenizer = build(kind)
    assert not tokenizer.decode(tokenizer.encode(images_for(tokenizer))).requires_grad


@every_kind
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_precision_holds_whatever_autocast_is_around(kind: str, precision: str) -> None:
    tokenizer = build(kind, precision=precision)
    seen: list[torch.dtype] = []
    last = tokenizer.encoder.pre_quant
    last.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    images = images_for(tokenizer)
    codes = tokenizer.encode(images)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(tokenizer.encode(images), codes)
        assert tokenizer.decode(codes).dtype == torch.float32
        tokenizer.embed(images)  # the steps follow what is around them
    assert seen == [getattr(torch, precision)] * 2 + [torch.bfloat16]


@every_kind
def test_changed_share_counts_what_bfloat16_changes(kind: str) -> None:
    tokenizer = build(kind, codebook=torch.randn(40, 6, generator=torch.Generator().manual_seed(7)))
    images = images_for(tokenizer, 20)
    share = changed_share(tokenizer, images)
    assert tokenizer.precision == "float32"
    coarse = build(kind, precision="bfloat16", codebook=tokenizer.codebook.detach())
    assert share == (coarse.encode(images) != tokenizer.encode(images)).float().mean().item()
    assert 0 <= share < 0.3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(precision="float16"), "precision must be 'float32' or 'bfloat16', got 'float16'"),
        (dict(resize_mode="crop"), "resize_mode must be 'exact' or 'center-crop', got 'crop'"),
        (dict(codebook=torch.zeros(39, 6)), r"codebook of shape \(39, 6\) does not fit; expected K x D = \(40, 6\)"),
    ],
)
@every_kind
def test_options_that_make_no_sense_are_refused(kind: str, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(kind, **options)


@every_kind
def test_codes_that_do_not_exist_are_refused(kind: str) -> None:
    tokenizer = build(kind)
    with pytest.raises(ValueError, match=r"codes lie in \[-1, 40\]; this tokenizer has codes in \[0, 40\)"):
        tokenizer.decode(torch.tensor([[[-1, 40]]]))
    with pytest.raises(ValueError, match=r"codes are torch.float32 of shape \(1, 1\)"):
        tokenizer.decode(torch.zeros(1, 1))


# Subsets.


@every_kind
def test_subset_matches_new_images_against_its_rows_alone(kind: str, tmp_path: Path) -> None:
    table = np.array([30, 2, 17, 5])
    np.save(tmp_path / "codes.npy", table)
    whole = build(kind)
    subset = build(kind, code_subset=str(tmp_path / "codes.npy"))
    vectors = whole.embed(images_for(whole))
    if kind == "logits":
        expected = whole.code_scores(vectors)[:, table].argmax(dim=1)
    else:
        rows, flat = whole.codebook[table], vectors.movedim(1, -1)
        if whole.distance == "cosine":
            rows, flat = F.normalize(rows, dim=-1), F.normalize(flat, dim=-1)
        expected = torch.cdist(flat.flatten(0, 2), rows).argmin(dim=1).view(5, *whole.grid)
    codes = subset.encode(images_for(whole))
    assert subset.codebook_size == 4 and torch.equal(codes, expected)
    assert torch.equal(subset.decode(codes), whole.decode(torch.from_numpy(table)[codes]))
    assert subset.describe()["code_subset"] == table.tolist()


def test_subset_of_a_subset_keeps_the_original_numbers() -> None:
    tokenizer = build("vit", code_subset=[9, 3, 7, 1])
    row = tokenizer.codebook[2].clone()
    tokenizer.take_subset([2, 0])
    assert tokenizer.code_subset.tolist() == [7, 9] and torch.equal(tokenizer.codebook[0], row)
    assert tokenizer.code_table.codes.tolist() == [7, 9] and tokenizer.code_table.codebook_size == 40
    assert build("vit").code_table is None


def test_subset_comes_from_a_store_that_records_its_table(tmp_path: Path) -> None:
    write_store(build("vit", code_subset=[4, 8]), tmp_path / "with", code_table=CodeTable([4, 8], 40))
    assert build("vit", code_subset=tmp_path / "with").code_subset.tolist() == [4, 8]
    write_store(build("vit"), tmp_path / "without")
    with pytest.raises(ValueError, match="without: the store records no code table"):
        build("vit", code_subset=tmp_path / "without")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([0, 40, -3], r"code_subset holds 40, -3; expected codes in \[0, 40\)"),
        ([5, 1, 5], "code_subset holds 5 more than once"),
        ([], r"expected integers \(K',\)"),
        ([0.5], "code_subset holds float64"),
        ([[1, 2]], r"of shape \(1, 2\)"),
    ],
)
def test_wrong_subset_is_refused(table: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build("vit", code_subset=np.array(table))


def test_subset_is_taken_where_there_are_no_values_yet() -> None:
    with torch.device("meta"):
        tokenizer = build("logits", code_subset=[3, 1])
    assert tokenizer.codebook.shape == (2, 6) and tokenizer.code_subset.tolist() == [3, 1]


def test_missing_or_damaged_subset_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.npy does not exist"):
        build("vit", code_subset=tmp_path / "none.npy")
    (tmp_path / "codes.npy").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"codes\.npy is damaged or is not a \.npy file"):
        build("vit", code_subset=tmp_path / "codes.npy")


# Loading.


@every_kind
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_gives_the_same_tokenizer(kind: str, suffix: str, tmp_path: Path) -> None:
    one = build(kind)
    two = build(kind, seed=5, checkpoint=saved(one, tmp_path / f"a{suffix}"))
    images = images_for(one)
    assert torch.equal(one.encode(images), two.encode(images))
    assert torch.equal(one.decode(one.encode(images)), two.decode(two.encode(images)))
    assert one.weights_sha256 == two.weights_sha256 and two.checkpoint == str(tmp_path / f"a{suffix}")


@every_kind
def test_checkpoint_of_a_training_run_loads_by_its_prefix(kind: str, tmp_path: Path) -> None:
    one = build(kind)
    state = {f"tokenizer.{name}": value for name, value in one.state_dict().items()}
    state["discriminator.weight"] = torch.zeros(3)
    torch.save({"meta": {"epoch": 3, "preset": "no matter"}, "state_dict": state, "optimizer": {}}, tmp_path / "e.pth")
    assert build(kind, seed=5, checkpoint=tmp_path / "e.pth").weights_sha256 == one.weights_sha256


@every_kind
def test_subset_is_taken_after_loading_or_was_before_saving(kind: str, tmp_path: Path) -> None:
    table = [7, 0, 31]
    cut, whole = build(kind, code_subset=table), build(kind)
    after = build(kind, seed=5, checkpoint=saved(whole, tmp_path / "whole.pth"), code_subset=table)
    before = build(kind, seed=5, checkpoint=saved(cut, tmp_path / "cut.pth"), code_subset=table)
    assert after.weights_sha256 == before.weights_sha256 == cut.weights_sha256


@every_kind
def test_file_without_a_decoder_encodes_and_says_why_it_cannot_decode(kind: str, tmp_path: Path) -> None:
    whole = build(kind)
    path = saved(whole, tmp_path / "encoder.pth", drop="decoder.")
    tokenizer = build(kind, seed=5, checkpoint=path)
    codes = tokenizer.encode(images_for(whole))
    assert whole.can_decode and not tokenizer.can_decode and torch.equal(codes, whole.encode(images_for(whole)))
    with pytest.raises(ValueError, match=r"cannot decode: checkpoint .*encoder\.pth holds no decoder weights"):
        tokenizer.decode(codes)


@every_kind
def test_file_with_half_a_decoder_is_refused(kind: str, tmp_path: Path) -> None:
    path = saved(build(kind), tmp_path / "half.pth", drop="decoder.post_quant")
    with pytest.raises(
        ValueError, match=r"half\.pth does not fit the model: missing keys: decoder\.post_quant\.weight"
    ):
        build(kind, checkpoint=path)


@every_kind
@pytest.mark.parametrize("part", ["encoder.pre_quant", "codebook"])
def test_file_without_encoder_or_codebook_is_refused(kind: str, part: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"missing keys: {part}"):
        build(kind, checkpoint=saved(build(kind), tmp_path / "a.pth", drop=part))


def test_codebook_of_another_size_is_named_by_both(tmp_path: Path) -> None:
    path = saved(build("vit"), tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"wrong shapes: codebook \(40, 6\) where the model has \(41, 6\)"):
        build("vit", checkpoint=path, codebook_size=41)
    with pytest.raises(ValueError, match=r"wrong shapes: codebook \(40, 6\) where the model has \(40, 7\)"):
        build("vit", checkpoint=path, code_dim=7)


def test_file_of_another_preset_is_refused_with_both_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(vit_vqgan.ARCHS, "small", {"encoder": STACK, "decoder": STACK})
    monkeypatch.setitem(vqgan.ARCHS, "vqgan_f16_1024", CONVOLUTIONS)
    small = dict(type="seitpp.ViTVQGAN", arch="small", codebook_size=40, code_dim=6, image_size=16, patch_size=4)
    path = saved(TOKENIZERS.build(small), tmp_path / "a.pth", preset="vitvqgan_base")
    with pytest.raises(ValueError, match=r"was converted as 'vitvqgan_base', .* is configured as 'vitvqgan_small'"):
        TOKENIZERS.build({**small, "checkpoint": path})
    saved(TOKENIZERS.build(small), path, preset="vitvqgan_small")
    assert TOKENIZERS.build({**small, "checkpoint": path}).preset == "vitvqgan_small"
    other = VQGAN("vqgan_f16_1024", image_size=16)
    saved(other, tmp_path / "b.safetensors", preset="ldm_vq_f16")
    with pytest.raises(ValueError, match=r"'ldm_vq_f16', .* configured as 'vqgan_f16_1024'"):
        VQGAN("vqgan_f16_1024", image_size=16, checkpoint=tmp_path / "b.safetensors")


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.pth does not exist"):
        build("vit", checkpoint=tmp_path / "none.pth")


def test_damaged_safetensors_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"\xff" * 40)
    with pytest.raises(ValueError, match=r"a\.safetensors is not a readable safetensors file"):
        build("vit", checkpoint=tmp_path / "a.safetensors")


def test_codebook_of_a_store_must_be_that_of_the_file(tmp_path: Path) -> None:
    one = build("vit")
    path, rows = saved(one, tmp_path / "a.pth"), one.codebook.detach().numpy().copy()
    assert build("vit", seed=5, checkpoint=path, codebook=rows).weights_sha256 == one.weights_sha256
    rows[3, 2] += 1
    with pytest.raises(
        ValueError, match=r"the store and checkpoint .*a\.pth belong to different tokenizers: codebook_sha256"
    ):
        build("vit", checkpoint=path, codebook=rows)
    with pytest.raises(ValueError, match=r"different tokenizers: .*codebook_size 39 and 40"):
        build("vit", checkpoint=path, codebook=rows[1:])


# Identity.


@every_kind
def test_hash_follows_every_value_and_name(kind: str) -> None:
    tokenizer = build(kind)
    first = tokenizer.weights_sha256
    assert build(kind).weights_sha256 == first == tokenizer.weights_sha256
    for parameter in (tokenizer.codebook, next(tokenizer.decoder.parameters())):
        with torch.no_grad():
            parameter.view(-1)[0] += 1
        assert tokenizer.weights_sha256 != first
        with torch.no_grad():
            parameter.view(-1)[0] -= 1
    assert build(kind, code_subset=[1, 2]).weights_sha256 != first


def test_hash_is_made_again_after_training_that_writes_past_the_version_counters() -> None:
    tokenizer = build("vit")
    first = tokenizer.weights_sha256
    tokenizer.train()
    tokenizer.codebook.data[0, 0] += 1
    assert tokenizer.weights_sha256 != first and tokenizer.eval().weights_sha256 != first


@every_kind
def test_random_weights_are_said_to_be_random(kind: str) -> None:
    facts = build(kind).describe()
    assert facts["checkpoint"] is None and len(facts["weights_sha256"]) == 64


# Stores.


def write_store(tokenizer: VQTokenizer, path: Path, **options: Any) -> StoreReader:
    with StoreWriter(
        path,
        codebook_size=tokenizer.codebook_size,
        grid=tokenizer.grid,
        tokenizer={"name": "mine", **tokenizer.describe()},
        codebook=tokenizer.codebook.detach().numpy(),
        **options,
    ) as writer:
        writer.append(tokenizer.encode(images_for(tokenizer)).numpy())
    return StoreReader(path)


@every_kind
@pytest.mark.parametrize("subset", [None, [12, 4, 0]])
def test_store_brings_its_tokenizer_back(kind: str, subset: list[int] | None, tmp_path: Path) -> None:
    path = saved(build(kind), tmp_path / "a.pth")
    tokenizer = build(kind, checkpoint=path, code_subset=subset)
    reader = write_store(tokenizer, tmp_path / "store")
    moved = path.rename(tmp_path / "b.pth")
    for again in (tokenizer_from_store(reader, moved), tokenizer_from_store(reader, str(moved))):
        assert torch.equal(again.encode(images_for(again)), torch.from_numpy(reader.read_all()).long())
    moved.rename(path)
    assert tokenizer_from_store(reader).describe() == tokenizer.describe()


def test_store_that_was_renumbered_later_brings_the_subset_back(tmp_path: Path) -> None:
    path = saved(build("vit"), tmp_path / "a.pth")
    tokenizer = build("vit", checkpoint=path)
    facts = {"name": "mine", **tokenizer.describe()}
    for number, table in enumerate(([3, 9, 1], list(range(39, -1, -1)))):
        codebook = tokenizer.codebook.detach().numpy()[table]
        with StoreWriter(
            tmp_path / f"s{number}",
            codebook_size=len(table),
            grid=tokenizer.grid,
            tokenizer=facts,
            codebook=codebook,
            code_table=CodeTable(table, 40),
        ) as writer:
            writer.append(np.zeros((1, *tokenizer.grid), np.int64))
        again = tokenizer_from_store(StoreReader(tmp_path / f"s{number}"))
        assert again.code_subset.tolist() == table and np.array_equal(again.codebook.detach().numpy(), codebook)


def test_subset_store_with_a_table_needs_no_second_cut(tmp_path: Path) -> None:
    path = saved(build("vit"), tmp_path / "a.pth")
    tokenizer = build("vit", checkpoint=path, code_subset=[6, 2, 8])
    reader = write_store(tokenizer, tmp_path / "store", code_table=CodeTable([6, 2, 8], 40))
    assert tokenizer_from_store(reader).code_subset.tolist() == [6, 2, 8]


def test_missing_file_of_weights_is_named_with_its_hash(tmp_path: Path) -> None:
    tokenizer = build("vit", checkpoint=saved(build("vit"), tmp_path / "a.pth"))
    reader = write_store(tokenizer, tmp_path / "store")
    (tmp_path / "a.pth").unlink()
    with pytest.raises(
        ValueError, match=rf"SHA-256 {tokenizer.weights_sha256} made this store, from .*a\.pth, which is"
    ):
        tokenizer_from_store(reader)
    with pytest.raises(ValueError, match=r"came from no file \(random weights\)"):
        tokenizer_from_store(write_store(build("vit"), tmp_path / "random"))


def test_other_weights_than_those_of_the_store_are_refused(tmp_path: Path) -> None:
    tokenizer = build("vit", checkpoint=saved(build("vit"), tmp_path / "a.pth"))
    reader = write_store(tokenizer, tmp_path / "store")
    other = build("vit")
    with torch.no_grad():
        other.decoder.post_quant.bias[0] += 1
    with pytest.raises(ValueError, match=rf"the store was made by those with {tokenizer.weights_sha256}"):
        tokenizer_from_store(reader, saved(other, tmp_path / "b.pth"))
