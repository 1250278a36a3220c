"""Wrong input of every tool ends in one line on standard error and a status, not in a traceback."""

import re
import runpy
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger

from helpers.classifier import make_trained_classifier
from helpers.shrinking import shrink
from seitpp.benchmarking.synthetic import make_images
from seitpp.io.command_line import run_tool

MTM = "configs/mtm/mtm_vit-base-p16_8xb512-400e_in1k-tokens.py"
# Words that stand for files of the repository; `made` has others.
FILES = {
    "T": "configs/tokenizers/patch_kmeans_8px_k512.py",
    "G": "configs/segmentation/upernet_vit-tiny-p1_1xb8-4k_scenes-tokens.py",
    "A": "configs/tokenadapt/tokenadapt_d64_1xb64-40e_digits-8px.py",
    "F": "configs/seitpp/seitpp_vit-tiny-p2_1xb64-60e_digits-tokens.py",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> dict[str, str]:
    """Files of all kinds, right and wrong, by the letters that stand for them."""
    folder = tmp_path_factory.mktemp("files")
    cfg = shrink(Config.fromfile(repository / MTM, format_python_code=False), folder, epochs=1)
    cfg.dump(folder / "run.json")
    trained = make_trained_classifier(folder / "classifier")
    make_images(folder / "pictures", 3, 32)
    (folder / "folder").mkdir()
    tested = "test_cfg = dict()\ntest_evaluator = dict(type='mmpretrain.Accuracy')"
    (folder / "tested.py").write_text(f"_base_ = [{str(trained.config)!r}]\n{tested}")
    for name, content in {
        "empty.py": "",
        "broken.py": "model = dict(",
        "fails.py": "a = 1 / 0",
        "text.txt": "hello",
        "list.json": "[1]",
        "unknown.py": "model = dict(type='seitpp.MTN')\ntrain_dataloader = train_cfg = optim_wrapper = dict(a=1)",
        "bad.png": "no image",
        "empty.pth": "",
        "junk.pth": "junk",
    }.items():
        (folder / name).write_text(content)
    torch.save([1], folder / "list.pth")
    torch.save({"a": torch.zeros(2)}, folder / "other.pth")
    found = {path.name: str(path) for path in folder.iterdir()}
    found |= {"none": str(folder / "none"), "RUN": str(folder / "run.json"), "OUT": str(folder / "out")}
    found |= {
        "CT": str(folder / "tested.py"),
        "C": str(trained.config),
        "K": str(trained.checkpoint),
        "S": str(trained.store),
    }
    return found | {word: str(repository / path) for word, path in FILES.items()}


# Words of `made` are replaced; the text must stand in the message. A status of 2 is marked by a text that begins so.
CASES = [
    ("train.py", "none", "none does not exist"),
    ("train.py", "folder", "is a folder, expected a file"),
    ("train.py", "empty.py", "empty.py has no model; expected a config of a run"),
    ("train.py", "broken.py", "line 1: SyntaxError: '(' was never closed"),
    ("train.py", "fails.py", "line 1: ZeroDivisionError: division by zero"),
    ("train.py", "text.txt", "text.txt is no file of a config"),
    ("train.py", "list.json", "list.json cannot be read"),
    ("train.py", "T", "is that of a tokenizer; expected a config of a run"),
    ("train.py", "unknown.py", "names 'seitpp.MTN', which is no registered model; did you mean seitpp.MTM?"),
    ("train.py", "RUN --work-dir text.txt", "text.txt: File exists"),
    ("train.py", "RUN --resume none", "checkpoint .*none does not exist"),
    ("train.py", "RUN --resume junk.pth", "checkpoint .*junk.pth"),
    ("train.py", "RUN --resume folder", "is a folder, expected a file"),
    ("train.py", "RUN --val-store S", "--val-store .* alone: .* Add --store TRAIN_STORE"),
    ("train.py", "RUN --store folder", "is not a token store"),
    ("train.py", "RUN --launcher pytorch", "--launcher pytorch: RANK is not set in the environment; start it with"),
    ("train.py", "RUN --launcher slurm", "--launcher slurm: SLURM_PROCID is not set in the environment"),
    ("train.py", "RUN --launcher mpi", "--launcher mpi: OMPI_COMM_WORLD_RANK is not set"),
    ("train.py", "RUN --launcher ssh", "2 invalid choice: 'ssh'"),
    ("train.py", "RUN --auto-scale-lr --cfg-options auto_scale_lr=None", "--auto-scale-lr needs auto_scale_lr"),
    ("train.py", "RUN --cfg-options seed", "2 --cfg-options seed: expected key=value"),
    *(
        ("train.py", f"RUN --cfg-options {option}", message)
        for option, message in (
            ("seed=3", "nothing would read it; did you mean randomness.seed?"),
            ("train_dataloader.batch_size=-1", "batch_size is -1, expected a whole number from 1 on"),
            ("train_dataloader.batch_size=2.5", "batch_size is 2.5, expected a whole number"),
            ("train_dataloader.batch_size=abc", "batch_size is 'abc', expected a whole number"),
            ("train_dataloader.num_workers=-1", "num_workers is -1, expected a whole number from 0 on"),
            ("train_cfg.max_epochs=0", "train_cfg.max_epochs is 0, expected"),
            ("train_cfg.val_interval=0", "train_cfg.val_interval is 0, expected"),
            ("optim_wrapper.optimizer.lr=abc", "optimizer.lr is 'abc', expected a number that is not negative"),
            ("optim_wrapper.optimizer.lr=-1", "optimizer.lr is -1, expected a number"),
            ("optim_wrapper.optimizer.lr=nan", "optimizer.lr is nan, expected a number"),
            ("optim_wrapper.optimizer.type=Adamm", "no registered optimizer; did you mean Adam"),
            ("optim_wrapper.accumulative_counts=0", "accumulative_counts is 0, expected"),
            ("auto_scale_lr.base_batch_size=0", "base_batch_size is 0, expected"),
            ("randomness.seed=abc", "randomness.seed is 'abc', expected"),
            ("log_level=LOUD", "log_level is 'LOUD', expected DEBUG, INFO"),
            ("default_hooks.checkpoint.interval=abc", "checkpoint.interval is 'abc', expected"),
            ("train_dataloader.collate_fn.type=nothing", "'nothing', which is no registered function"),
            ("train_dataloader.collate_fn.type=identity_collate", "did you mean seitpp.identity_collate?"),
            ("train_dataloader.sampler.type=nothing", "names 'nothing', which is no registered data sampler"),
            ("train_dataloader.dataset.type=seitpp.TokenData", "did you mean seitpp.TokenDataset"),
            ("train_dataloader.dataset.store=nothing", "nothing is not a token store"),
            ("model.type=seitpp.MTN", "did you mean seitpp.MTM?"),
            ("model=None", "has no model"),
            ("train_dataloader=None", "has no train_dataloader, so there is nothing to train with it"),
            ("optim_wrapper=None", "has no optim_wrapper"),
            ("train_cfg=None", "has no train_cfg"),
            ("model.backbone.arch=nano", "Arch nano is not in default archs"),
            ("model.mask_ratio.low=2", "mask ratios must satisfy"),
            ("data_preprocessor.codebook=nothing.npy", "codebook nothing.npy does not exist"),
            ("load_from=none", "none does not exist"),
            ("load_from=junk.pth", "junk.pth"),
            ("load_from=list.pth", "holds a list, expected a dict"),
            ("load_from=other.pth", "has no state_dict"),
        )
    ),
    ("test.py", "none K", "does not exist"),
    ("test.py", "RUN none", "checkpoint .*none does not exist"),
    ("test.py", "RUN folder", "is a folder, expected a file"),
    ("test.py", "RUN empty.pth", "checkpoint .*empty.pth"),
    ("test.py", "RUN list.pth", "holds a list, expected a dict"),
    ("test.py", "RUN K", "epoch_1.pth does not fit the model"),
    ("test.py", "T K", "is that of a tokenizer; expected a config of a run"),
    ("test.py", "C K", "has no test_cfg, so there is nothing to test with it"),
    ("test.py", "RUN K --split a", "2 --split means nothing without --images"),
    ("test.py", "RUN K --images pictures --workers -1 --tokenizer S", "--workers -1"),
    ("test.py", "RUN K --images pictures --tokenizer none", "tokenizer .*none does not exist"),
    ("test.py", "RUN K --images pictures --tokenizer empty.py", "has no 'tokenizer'"),
    ("test.py", "RUN K --show-dir a", "--show-dir draws label maps"),
    ("test.py", "RUN K --cfg-options test_dataloader=None", "has no test_dataloader"),
    ("print_config.py", "none", "does not exist"),
    ("print_config.py", "broken.py", "SyntaxError"),
    ("print_config.py", "text.txt", "is no file of a config"),
    ("print_config.py", "RUN --save-path a.txt", "2 argument --save-path: a.txt: expected a name that ends in .py"),
    ("print_config.py", "RUN --cfg-options seed=3", "did you mean randomness.seed?"),
    ("print_config.py", "RUN --cfg-options train_dataloader.batch_size.a=3", "is 2 and has no keys"),
    ("image_demo.py", "bad.png C --checkpoint K --tokenizer S", "bad.png cannot be read"),
    ("image_demo.py", "none C --checkpoint K --tokenizer S", "image .*none does not exist"),
    ("image_demo.py", "S empty.py --checkpoint K", "has no model"),
    ("image_demo.py", "S C --checkpoint none", "does not exist"),
    ("image_demo.py", "S C --checkpoint other.pth", "no key in common with the model"),
    ("image_demo.py", "S C --checkpoint K --indices 99", "99"),
    ("image_demo.py", "S C --checkpoint K --topk 0", "topk is 0"),
    ("image_demo.py", "S C --checkpoint K --batch-size -1", "batch_size is -1"),
    ("image_demo.py", "S C --checkpoint K --device tpu9", "device 'tpu9' is none; expected cpu, cuda or cuda:N"),
    ("image_demo.py", "S C --checkpoint K --device cuda:9", "no GPU is available here"),
    ("export_model.py", "none K OUT", "does not exist"),
    ("export_model.py", "C junk.pth OUT", "junk.pth"),
    ("export_model.py", "C K OUT --batch-size -1", "2 '-1' is no positive number"),
    ("export_model.py", "C K OUT --input images", "files that take images hold the tokenizer"),
    ("tokenize_images.py", "none pictures OUT", "does not exist"),
    ("tokenize_images.py", "RUN pictures OUT", "has no 'tokenizer'"),
    ("tokenize_images.py", "T none OUT", "none"),
    ("tokenize_images.py", "T pictures OUT --workers -1", "num_workers is -1"),
    ("tokenize_images.py", "T pictures OUT --batch-size 0", "batch_size is 0"),
    ("tokenize_images.py", "T pictures OUT --device tpu", "device 'tpu' is none"),
    ("tokenize_images.py", "T pictures OUT --cfg-options tokenizer=None", "has no 'tokenizer'"),
    (
        "tokenize_images.py",
        "T pictures OUT --workers 0 --cfg-options tokenizer.fit.num_images=abc",
        "fit.num_images is",
    ),
    ("convert_store.py", "none OUT", "none"),
    ("convert_store.py", "S OUT --shard-bytes a", "2 invalid int value"),
    ("merge_stores.py", "S none OUT", "none is not a token store"),
    ("merge_stores.py", "S S OUT", "hold the same samples; name each store once"),
    ("convert_checkpoint.py", "mtm none OUT", "does not exist"),
    ("convert_checkpoint.py", "mtm junk.pth OUT", "junk.pth"),
    ("convert_checkpoint.py", "nothing K OUT", "2 invalid choice"),
    ("inspect_store.py", "verify folder", "2 not a store"),
    ("build_synonyms.py", "none OUT", "none"),
    ("remap_codes.py", "subset none OUT", "none is not a token store"),
    ("remap_codes.py", "match S none OUT", "none"),
    ("make_token_pairs.py", "empty.py OUT", "has no model"),
    ("make_token_pairs.py", "T OUT", "is that of a tokenizer"),
    ("make_token_pairs.py", "A OUT --device tpu", "device 'tpu' is none"),
    ("make_token_pairs.py", "A OUT --seed -1", "2 '-1' is no whole number from 0 on"),
    ("quickstart.py", "--seeds a", "2 invalid"),
    ("study.py", "--images none --data none --out OUT", "none/train does not exist; docs/study.md says"),
    ("study.py", "--jobs 0", "2 --jobs 0: expected 1 or more"),
    ("study.py", "--steps all", "2 invalid choice: 'all'"),
    ("study.py", "--tables-only --records none --out OUT", "none does not exist"),
    ("visualization/show_augmentations.py", "none", "none is not a token store"),
    ("visualization/show_augmentations.py", "S --samples 99", "has no sample 99"),
    ("visualization/show_augmentations.py", "S --config empty.py --token-adapt K", "has no model.token_adapt"),
    ("visualization/show_corruptions.py", "none", "none does not exist; expected images"),
    ("visualization/show_corruptions.py", "pictures --samples 3", "has no image 3; expected numbers from 0 to 2"),
    ("visualization/show_corruptions.py", "pictures --seed 4294967296", "corruption seed is 4294967296, expected"),
    ("visualization/show_corruptions.py", "pictures --tokenizer T", "is fitted to images"),
    ("visualization/vis_scheduler.py", "RUN --dataset-size 0", "2 '0' is no whole number from 1 on"),
    (
        "visualization/vis_scheduler.py",
        "RUN --save-path a.txt",
        "2 argument -s/--save-path: a.txt: expected a name that ends in",
    ),
    ("visualization/vis_scheduler.py", "T", "is that of a tokenizer; expected a config of a run"),
    ("visualization/vis_tsne.py", "none K", "does not exist"),
    ("visualization/vis_tsne.py", "A K", "is the config of TokenAdapt; expected that of a classifier"),
    ("visualization/vis_tsne.py", "C K", "augments nothing through TokenAdapt; name a config that does"),
    ("visualization/vis_tsne.py", "C K --augments F --store none", "none is not a token store"),
    ("visualization/vis_tsne.py", "C K --augments F --token-adapt none", "--token-adapt: .*none does not exist"),
    ("visualization/vis_tsne.py", "C K --augments F --classes owl", "has no samples of a class 'owl'"),
    ("visualization/vis_tsne.py", "C K --augments F --classes ant", "1 class of .* is chosen (ant), expected two"),
    ("visualization/vis_tsne.py", "C K --panels all", "2 invalid choice: 'all'"),
    ("visualization/vis_tsne.py", "C K --out a.txt", "2 a.txt: expected a name that ends in .png"),
    ("dataset_converters/flowers102.py", "none", "none"),
    ("dataset_converters/inaturalist.py", "folder 2018", "folder"),
    ("dataset_converters/stanford_cars.py", "folder", "folder"),
    ("dataset_converters/sample_photos.py", "OUT --size 0", "2 '0' is no whole number from 1 on"),
    ("dataset_converters/scenes.py", "OUT --num-train 0", "2 expected at least one scene"),
    ("dataset_converters/select_classes.py", "S OUT --classes-list none", "none"),
    ("dataset_converters/torchvision_sets.py", "Food101 OUT --root none", "food-101 does not exist; torchvision keeps"),
    ("dataset_converters/fashion_mnist_json.py", "none OUT", "images .*0.json does not exist"),
    ("dataset_converters/cifar10_png.py", "none OUT", "images .*data_batch_1.png does not exist"),
    ("dataset_converters/hold_out.py", "none OUT --last 1", "none/train is no folder"),
    ("dataset_converters/shrink_images.py", "none OUT --scale 0.2", "none does not exist"),
    ("dataset_converters/shrink_images.py", "pictures memory://out --scale 0.2", "2 memory://out is a URL"),
    ("dataset_converters/shrink_images.py", "pictures OUT", "nothing to do: give a share"),
    ("dataset_converters/shrink_images.py", "pictures pictures --scale 0.2", "lies in .*pictures, which is read"),
    ("dataset_converters/shrink_images.py", "pictures OUT --jpeg-quality 101", "JPEG quality is 101"),
    ("dataset_converters/shrink_images.py", "pictures OUT --scale 0.2 --split ..", "2 --split '..' names a folder"),
    ("analysis_tools/analyze_logs.py", "plot_curve none", "none does not exist"),
    ("analysis_tools/analyze_logs.py", "plot_curve folder", "has no scores"),
    ("analysis_tools/storage_accuracy.py", "none", "none does not exist"),
    ("analysis_tools/storage_accuracy.py", "text.txt", "is a file, expected the work folder of a run"),
    ("analysis_tools/storage_accuracy.py", "folder", "holds no work folder of a run"),
    ("analysis_tools/benchmark_augment.py", "--device tpu", "device 'tpu' is none"),
    ("analysis_tools/benchmark_augment.py", "--batch-size 0", "2 '0' is no whole number from 1 on"),
    ("analysis_tools/benchmark_data.py", "--store none", "none is not a token store"),
    ("analysis_tools/benchmark_data.py", "--device tpu", "device 'tpu' is none"),
    ("analysis_tools/benchmark_train.py", "none", "none"),
    ("analysis_tools/benchmark_train.py", "T", "is that of a tokenizer; expected a config of a run"),
    ("analysis_tools/profile_step.py", "RUN --device tpu", "device 'tpu' is none"),
    ("analysis_tools/profile_step.py", "RUN --cfg-options no.key=1", "no.key"),
    ("analysis_tools/benchmark_frames.py", "none", "none is not a token store"),
    ("analysis_tools/benchmark_frames.py", "S --rounds 0", "2 '0' is no whole number from 1 on"),
    ("analysis_tools/benchmark_store.py", "none", "none is not a token store"),
    ("analysis_tools/benchmark_store.py", "--images 0", "2 '0' is no whole number from 1 on"),
    ("analysis_tools/benchmark_store.py", "--codecs zip", "2 invalid choice: 'zip'"),
    ("analysis_tools/benchmark_tokenize.py", "RUN", "tokenizer"),
    ("analysis_tools/benchmark_tokenize.py", "T --workers -1", "2 '-1' is no whole number from 0 on"),
    ("analysis_tools/patch_kmeans_baseline.py", "none", "does not exist"),
    ("analysis_tools/patch_kmeans_baseline.py", "T", "is that of a tokenizer; expected a config of a run"),
    ("analysis_tools/patch_kmeans_baseline.py", "RUN", "trains no tokenizer; expected a file of configs/tokenizers"),
    ("analysis_tools/tokenadapt_study.py", "empty.py", "has no data to train on"),
    ("analysis_tools/seg_baselines.py", "none none", "none is not a token store"),
    ("analysis_tools/tokenadapt_study.py", "none", "does not exist"),
    ("analysis_tools/analyze_results.py", "text.txt --out-dir OUT", "text.txt: the name must end in .npz"),
    ("analysis_tools/benchmark_duplicates.py", "--images 0", "2 '0' is no whole number from 1 on"),
    ("analysis_tools/cost_table.py", "none", "none"),
    ("analysis_tools/cost_table.py", "T", "is the config of a tokenizer; expected that of a classifier"),
    ("analysis_tools/cost_table.py", "A", "is the config of TokenAdapt; expected that of a classifier"),
    ("analysis_tools/cost_table.py", "C RUN", "run.json trains MTM and .* a classifier; the ratio of their steps"),
    ("analysis_tools/cost_table.py", "RUN --batch-size 0", "2 '0' is no whole number from 1 on"),
    (
        "analysis_tools/cost_table.py",
        "RUN --out costs.txt",
        "2 argument --out: costs.txt: expected a name that ends in .csv",
    ),
    ("analysis_tools/cost_table.py", "RUN --out RUN", "is what would be read"),
    ("analysis_tools/confusion_matrix.py", "empty.pth", "2 empty.pth is no file of predictions"),
    ("analysis_tools/eval_metric.py", "none.npz", "none.npz does not exist"),
    ("analysis_tools/extract_features.py", "nobody K S OUT", "is neither the file of a config nor the name of one"),
    ("analysis_tools/get_flops.py", "none", "does not exist"),
    ("analysis_tools/get_flops.py", "RUN --store folder", "is not a token store"),
    ("analysis_tools/robustness_table.py", "folder", "folder/results.json does not exist; tools/test_robustness.py"),
    ("analysis_tools/robustness_table.py", "folder none --legend A", "2 expected a name of its own for each of the 2"),
    ("analysis_tools/robustness_table.py", "folder --out a.txt", "2 argument --out: a.txt: expected a name that ends"),
    ("analysis_tools/token_distances.py", "--codes 0", "2 '0' is no whole number from 1 on"),
    ("model_converters/publish_model.py", "junk.pth OUT.pth", "junk.pth"),
    ("test_robustness.py", "none K", "none does not exist"),
    ("test_robustness.py", "T K", "is the config of a tokenizer; expected that of a classifier"),
    ("test_robustness.py", "RUN K", "is the config of MTM; expected that of a classifier .*MTM predicts masked codes"),
    ("test_robustness.py", "C", "2 the following arguments are required: checkpoint"),
    ("test_robustness.py", "C K --split val", "2 --split means nothing without --images"),
    ("test_robustness.py", "C K --candidates some", "2 invalid choice: 'some'"),
    ("test_robustness.py", "G K", "is the config of a segmentor; expected that of a classifier"),
    ("test_robustness.py", "CT none", "checkpoint .*none does not exist"),
    ("test_robustness.py", "CT junk.pth", "junk.pth"),
    ("test_robustness.py", "CT K", "none of the benchmarks' data are there; looked for .*data/imagenet/val"),
    ("test_robustness.py", "CT K --images none", "--images: .*none does not exist"),
    ("test_robustness.py", "CT K --images folder", "folder"),
    (
        "test_robustness.py",
        "CT K --images pictures --only imagenet_a",
        "has no such benchmark; did you mean imagenet_r",
    ),
    (
        "test_robustness.py",
        "CT K --images pictures --only objectnet",
        "--only objectnet: .*objectnet-1.0 does not exist",
    ),
    (
        "test_robustness.py",
        "CT K --images pictures --classes text.txt",
        "text.txt names 1 classes, and the config's head",
    ),
    ("test_robustness.py", "CT K --images pictures --tokenizer none", "none"),
    (
        "test_robustness.py",
        "CT K --images pictures --cfg-options test_dataloader.dataset.store=none",
        "the config's test store .*none, which would name the tokenizer, is missing; pass --tokenizer",
    ),
    ("test_robustness.py", "CT K --images pictures --cfg-options robustness.claen=1", "robustness.claen"),
    ("train_on_images.py", "none OUT", "none does not exist; expected images"),
    ("train_on_images.py", "folder OUT", "folder"),
    ("train_on_images.py", "pictures OUT --model tyni", "tyni"),
    ("visualization/browse_dataset.py", "none", "does not exist"),
    ("visualization/browse_dataset.py", "T --out OUT", "is that of a tokenizer; expected a config of a run"),
    ("visualization/browse_store.py", "folder", "is not a token store"),
]


@pytest.fixture
def ended(
    made: dict[str, str],
    repository: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    unformatted_configs: None,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[str, str], tuple[int, str]]:
    """Status and standard error of a tool, run to its end in this process."""

    def run(tool: str, line: str) -> tuple[int, str]:
        words = [made.get(word, word) for word in line.split()]
        words = [f"{key}={made.get(value, value)}" if equals else key for key, equals, value in map(parted, words)]
        if tool in ("train.py", "test.py", "test_robustness.py"):
            words += [] if "--cfg-options" in words else ["--cfg-options"]
            words.append(f"experiment_name={uuid.uuid4().hex}")  # mmengine shares state between runs of one name
            words += [] if "--work-dir" in words else ["--work-dir", str(tmp_path / "work_dir")]
        monkeypatch.setattr(sys, "argv", [str(repository / "tools" / tool)])
        MMLogger._instance_dict.clear()  # that of another test writes where nothing is any more
        main = runpy.run_path(sys.argv[0])["main"]
        capsys.readouterr()
        try:
            status = run_tool(lambda: main(words))
        except SystemExit as end:
            status = end.code
        return status, capsys.readouterr().err.strip()

    return run


def parted(word: str) -> tuple[str, str, str]:
    """Name, equals sign and value of an option such as `load_from=FILE`."""
    return word.partition("=")


@pytest.mark.parametrize(("tool", "line", "message"), CASES, ids=[f"{tool} {line}" for tool, line, _ in CASES])
def test_wrong_input_is_one_line(
    ended: Callable[[str, str], tuple[int, str]], tool: str, line: str, message: str
) -> None:
    status, error = ended(tool, line)
    of_command_line = message.startswith("2 ")
    assert status == (2 if of_command_line else 1), error
    *usage, last = error.splitlines()
    assert not usage or of_command_line, error
    assert "SEITPP_TRACEBACK" not in error  # the message speaks for itself
    assert re.search(".*".join(map(re.escape, message.removeprefix("2 ").split(".*"))), last), error


def test_every_tool_is_tried(repository: Path) -> None:
    tools = {str(path.relative_to(repository / "tools")) for path in (repository / "tools").rglob("*.py")}
    assert tools - {tool for tool, _, _ in CASES} == {
        "analysis_tools/build_model_zoo.py",
        *(f"dataset_converters/{name}.py" for name in ("class_lists", "image_sets", "npm_packages")),  # of the others
        "dataset_converters/mnist_5k.py",
    }


# The first is the tool that starts the quickest.
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("analysis_tools/analyze_logs.py plot_curve none", "analyze_logs.py: error: work folder {none} does not exist"),
        pytest.param(
            "print_config.py broken.py",
            "print_config.py: error: config {broken.py} cannot be read, line 1: SyntaxError: '(' was never closed\n",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_process_ends_with_one_line_and_a_status(
    spawn: Callable, made: dict[str, str], line: str, message: str
) -> None:
    tool, *words = line.split()
    process = spawn(sys.executable, f"tools/{tool}", *(made.get(word, word) for word in words))
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 1
    for name in ("none", "broken.py"):
        message = message.replace("{" + name + "}", made[name])
    assert output.startswith(message) and output.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("tools/train.py none", "train.py: error: config {none} does not exist"),
        ("tools/test.py RUN folder", "test.py: error: checkpoint {folder} is a folder, expected a file"),
        ("tools/quickstart.py --seeds a", "quickstart.py: error: argument --seeds"),
    ],
)
def test_last_line_of_a_process(spawn: Callable, made: dict[str, str], tmp_path: Path, line: str, message: str) -> None:
    words = [made.get(word, word) for word in line.split()]
    words += ["--work-dir", tmp_path] if "quickstart" not in line else []
    process = spawn(sys.executable, *words)
    output = process.communicate(timeout=300)[0]
    assert process.returncode in (1, 2)
    assert "Traceback" not in output
    assert output.splitlines()[-1].startswith(message.format(**made))


@pytest.mark.slow
def test_each_of_several_processes_speaks_for_itself(spawn: Callable, made: dict[str, str]) -> None:
    process = spawn("bash", "tools/dist_train.sh", made["empty.py"], 2)
    output = process.communicate(timeout=300)[0]
    assert process.returncode != 0
    lines = {line for line in output.splitlines() if "train.py: error" in line}
    assert lines and lines <= {
        f"train.py: error (rank {rank}): {made['empty.py']} has no model; expected a config of a run, such as those of "
        "configs/seitpp/"
        for rank in (0, 1)
    }
