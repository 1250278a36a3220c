"""torch.compile of a step's networks: once per network, same losses and names; where it fails, runs go on without."""

import copy
import logging
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from torch import nn

from seitpp.augment import TokenAdaptAugment
from seitpp.engine import CompileHook, runs
from seitpp.engine.compiling import compile_networks, use_compile
from seitpp.io.checkpoint import load_checkpoint_file
from seitpp.models import MTM, TokenAdapt, TokenDataPreprocessor

# torch looks at gradients of all inputs when it traces.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")

STACK = dict(embed_dims=8, num_layers=2, num_heads=2, feedforward_channels=16)


def build_mtm(arch: dict = STACK, **options: bool) -> MTM:
    torch.manual_seed(0)
    encoder = dict(arch=arch, grid_size=8, codebook_size=16, code_dim=8, drop_path_rate=0.1, **options)
    model = MTM(
        backbone=dict(type="seitpp.MTMViT", **encoder),
        neck=dict(
            type="seitpp.MTMPretrainDecoder",
            num_patches=16,
            embed_dims=8,
            decoder_embed_dims=8,
            num_layers=1,
            num_heads=2,
            **options,
        ),
        head=dict(type="seitpp.MTMPretrainHead", codebook_size=16, code_dim=8, decoder_embed_dims=8),
    )
    nn.init.normal_(model.embedding_table)
    return model


class Graphs:
    """A backend that counts what it is given to compile, and runs it as it is."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, module: torch.fx.GraphModule, inputs: list) -> Callable:
        self.count += 1
        return module.forward


def loss_and_gradients(model: MTM, ratio: float) -> tuple[torch.Tensor, list[torch.Tensor]]:
    torch.manual_seed(round(ratio * 100))  # of codes, masks, dropout and stochastic depth
    codes = torch.randint(0, 16, (3, 8, 8))
    loss = model.loss_on_masks(codes, model.make_masks(torch.rand(3, 16), ratio))["loss"]
    model.zero_grad()
    loss.backward()
    return loss.detach(), [value.grad for value in model.parameters() if value.grad is not None]


def test_each_network_is_compiled_once_whatever_the_mask_ratio() -> None:
    torch.compiler.reset()
    graphs, plain, compiled = Graphs(), build_mtm(), build_mtm()
    assert compile_networks(compiled, {"backend": graphs}) == ["backbone", "neck", "head"]
    for ratio in (0.62, 0.4, 1.0, 0.85, 0.5):
        loss, gradients = loss_and_gradients(compiled, ratio)
        own_loss, own_gradients = loss_and_gradients(plain, ratio)
        torch.testing.assert_close(loss, own_loss, rtol=1e-6, atol=0)
        torch.testing.assert_close(gradients, own_gradients, rtol=1e-5, atol=1e-7)
    assert graphs.count == 3
    assert list(compiled.state_dict()) == list(plain.state_dict())


@pytest.mark.slow
def test_blocks_alike_share_one_graph() -> None:
    torch.compiler.reset()
    graphs, deep = Graphs(), {**STACK, "num_layers": 4}
    plain, compiled = build_mtm(arch=deep), build_mtm(arch=deep)
    names = compile_networks(compiled, {"backend": graphs}, per_block=True)
    assert names == [*(f"backbone.layers.{number}" for number in range(4)), "neck.layers.0", "head"]
    torch.testing.assert_close(loss_and_gradients(compiled, 0.6), loss_and_gradients(plain, 0.6), rtol=1e-5, atol=1e-7)
    assert graphs.count == 4  # without stochastic depth, with it at any rate, the decoder's, the head


def test_a_frozen_token_adapt_is_compiled_in_each_of_its_types(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.compiler.reset()
    graphs, codebook = Graphs(), torch.randn(16, 8)
    torch.manual_seed(0)
    network = TokenAdapt(16, 8, grid=4, out_grid=4, dims=8, num_heads=2, head_dims=4, mlp_dims=16)
    augment = TokenAdaptAugment(network)
    batch = {"inputs": torch.randint(0, 16, (2, 4, 4)), "codebook": codebook}
    plain = augment(dict(batch))["inputs"]
    model = nn.Module()
    model.data_preprocessor = nn.Module()
    model.data_preprocessor.augments = [augment]
    wrapped = nn.Module()
    wrapped.module = model  # as DDP's
    monkeypatch.setattr(runs, "is_model_wrapper", lambda one: one is wrapped)
    assert compile_networks(wrapped, {"backend": graphs}) == ["TokenAdaptAugment"]
    assert torch.equal(augment(dict(batch))["inputs"], plain)
    assert graphs.count == 2
    augment(dict(batch, network_dtype=torch.bfloat16))
    assert graphs.count == 3  # both directions compute the same there, and share it


CHAIN = [
    dict(type="seitpp.TokenEDA", synonyms={code: [(code + 1) % 16, (code + 5) % 16] for code in range(16)}),
    dict(type="seitpp.TokenRRC", size=7),
    dict(type="seitpp.EmbNoise"),
    dict(type="seitpp.EmbNoise", relative=True),
    dict(type="seitpp.ColorAdapt", prob=0.5),
    dict(type="seitpp.BatchRandomFlip"),
    dict(type="seitpp.BatchRandomAffine", degrees=30, translate=0.2, shear=15, scale=(0.8, 1.2), part_prob=0.5),
    dict(type="seitpp.BatchMixup"),
    dict(type="seitpp.BatchCutMix"),
]


def augmented(preprocessor: TokenDataPreprocessor, size: int) -> list[torch.Tensor]:
    """Embeddings, soft targets, and a draw after them."""
    torch.manual_seed(size)
    batch = {"inputs": torch.randint(0, 16, (size, 8, 8)).to(torch.uint16), "gt_label": torch.arange(size) % 4}
    done = preprocessor({**batch, "sample_idx": torch.arange(size)}, training=True)
    return [done["inputs"], torch.stack([one.gt_score for one in done["data_samples"]]), torch.rand(1)]


def check_augmentations(backend: object) -> None:
    """Compiled augmentations draw what eager ones draw, and agree; batches may differ in size."""
    torch.compiler.reset()
    options = dict(codebook=torch.randn(16, 8), output="embeddings", num_classes=4)
    plain, compiled = (TokenDataPreprocessor(augments=CHAIN, **options) for _ in range(2))
    model = nn.Module()
    model.data_preprocessor = compiled
    assert compile_networks(model, {"backend": backend}) == [one["type"].split(".")[1] for one in CHAIN]
    compiled = copy.deepcopy(compiled)  # as an average of the model has it
    for size in (6, 5, 3):
        torch.testing.assert_close(augmented(compiled, size), augmented(plain, size), rtol=1e-5, atol=1e-5)


def test_compiled_augmentations_draw_and_give_what_eager_ones_do() -> None:
    graphs = Graphs()
    check_augmentations(graphs)
    assert graphs.count > len(CHAIN)


@pytest.mark.slow
def test_augmentations_of_inductor_agree_with_eager_ones() -> None:
    check_augmentations("inductor")


@pytest.mark.parametrize(("given", "options"), [(True, {}), ({"mode": "max-autotune"}, {"mode": "max-autotune"})])
def test_a_config_says_it_in_one_line(given: bool | dict, options: dict) -> None:
    config = Config({"compile": given, "default_hooks": {"timer": {"type": "IterTimerHook"}}})
    use_compile(config)
    assert config.default_hooks == {
        "timer": {"type": "IterTimerHook"},
        "compile": {"type": "seitpp.CompileHook", **options},
    }
    assert config.compile is False  # mmengine would compile once more, and all of the step


def test_another_value_of_compile_is_refused() -> None:
    with pytest.raises(ValueError, match="compile is 'yes', expected True, False or a dict of options"):
        use_compile(Config({"compile": "yes"}))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"backnd": "eager"}, r"does not take compile=\{'backnd': 'eager'\}: .* unexpected keyword argument 'backnd'"),
        ({"backend": "eagre"}, r"torch\.compile does not take .*Invalid backend: 'eagre'"),
        ({"mode": "fast"}, r"torch\.compile does not take .*mode=fast, should be one of: default, .*max-autotune"),
        ({"backend": 7}, r"compile\.backend is 7, expected the name of a backend"),
        ({"dynamic": 17}, r"compile\.dynamic is 17, expected True or False"),
        ({"fullgraph": "yes"}, r"compile\.fullgraph is 'yes', expected True or False"),
        ({"per_block": "no"}, r"compile\.per_block is 'no', expected True or False"),
        ({"options": {"max_autotun": True}}, r"torch\.compile does not take .*option max_autotun"),
        ({"options": 5}, r"torch\.compile does not take compile=\{'options': 5\}"),
        ({"mode": "default", "options": {"max_autotune": True}}, r"Either mode or options can be specified"),
    ],
)
def test_a_mistyped_option_is_refused(options: dict, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        CompileHook(**options)


def no_compiler(*_: object) -> None:
    raise OSError("no C++ compiler\nis found")


@pytest.mark.parametrize(
    ("model", "backend", "match"),
    [
        (nn.Linear(1, 1), no_compiler, r"goes on uncompiled, torch.compile does not work here: .*no C\+\+ compiler is"),
        (nn.Linear(1, 1), "eager", "Nothing is compiled: Linear has no network"),
    ],
)
def test_a_run_that_cannot_compile_says_so_in_one_line_and_goes_on(
    model: nn.Module, backend: object, match: str, caplog: pytest.LogCaptureFixture
) -> None:
    torch.compiler.reset()
    CompileHook(backend=backend).before_train(SimpleNamespace(model=model, logger=logging.getLogger("compiling")))
    (record,) = [one for one in caplog.records if one.name == "compiling"]
    assert record.levelname == "WARNING" and "\n" not in record.getMessage()
    assert re.search(match, record.getMessage())


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_a_run_goes_on_from_a_compiled_one_and_back(
    tiny: Callable, tool: Callable, mtm_leaf: Path, tmp_path: Path, backend: str
) -> None:
    config = tiny(mtm_leaf, num_samples=4, epochs=2)
    compiled = ["--compile", "--cfg-options", f"compile.backend={backend}"]
    for first, second in ((compiled, []), ([], compiled)):
        run = tmp_path / f"{len(first)}"
        tool("train.py", config, "--work-dir", run, "--no-validate", *first)
        before = load_checkpoint_file(run / "epoch_1.pth")["state_dict"]
        start = ["--resume", run / "epoch_1.pth", "--work-dir", tmp_path / "resumed", "--no-validate"]
        tool("train.py", config, *start, *second)
        after = load_checkpoint_file(tmp_path / "resumed" / "epoch_2.pth")["state_dict"]
        assert list(before) == list(after) and not any("_orig_mod" in name for name in before)


@pytest.mark.slow
def test_activation_checkpointing_is_compiled_too() -> None:
    torch.compiler.reset()
    plain, compiled = build_mtm(with_cp=True), build_mtm(with_cp=True)
    compile_networks(compiled, {"backend": "aot_eager"})
    torch.testing.assert_close(loss_and_gradients(compiled, 0.5), loss_and_gradients(plain, 0.5))


@pytest.mark.slow
@pytest.mark.parametrize(("half", "rtol"), [(False, 1e-5), (True, 2e-3)], ids=["float32", "bfloat16"])
def test_losses_of_inductor_agree_with_eager_ones(half: bool, rtol: float) -> None:
    torch.compiler.reset()
    plain, compiled = build_mtm(), build_mtm()
    compile_networks(compiled, {"options": {"fallback_random": True}})
    for ratio in (0.5, 1.0):
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss, gradients = loss_and_gradients(compiled, ratio)
            own_loss, own_gradients = loss_and_gradients(plain, ratio)
        torch.testing.assert_close(loss, own_loss, rtol=rtol, atol=0)
        if half:
            continue
        torch.testing.assert_close(gradients, own_gradients, rtol=1e-4, atol=1e-6)


def test_a_runner_has_the_hook(tiny: Callable, mtm_leaf: Path, build_runner: Callable[[Config], Runner]) -> None:
    config = Config.fromfile(tiny(mtm_leaf))
    config.compile = {"backend": "eager"}
    hooks = [hook for hook in build_runner(config).hooks if isinstance(hook, CompileHook)]
    assert [hook.options for hook in hooks] == [{"backend": "eager"}]
