"""Layouts and label rules of the robustness sets, on tiny trees."""

import hashlib
import json
import pickle
import shutil
from pathlib import Path

import fsspec
import numpy as np
import pytest
from mmengine.logging import MMLogger

from helpers import benchmark_trees as trees
from seitpp.images.decoding import UnreadableImageError
from seitpp.ingest.sources.benchmarks import BenchmarkSource, open_benchmark
from seitpp.ingest.sources.benchmarks.imagenet_r_classes import IMAGENET_R_CLASSES

CLASSES = trees.imagenet_classes()


def right_folders(source: BenchmarkSource, classes: list[str]) -> list[set[str]]:
    """The names of the model's classes that are right for each image."""
    return [{classes[index] for index in source.label_sets[label]} for label in source.labels]


def folder_of(source: BenchmarkSource) -> list[str]:
    return [name.split("/")[0] for name in source.names]


@pytest.fixture(scope="module")
def imagenet_r(tmp_path_factory) -> Path:
    return trees.imagenet_r(tmp_path_factory.mktemp("imagenet-r"))


@pytest.fixture
def objectnet(tmp_path) -> Path:
    return trees.objectnet(tmp_path / "objectnet-1.0")


def test_imagenet_r_has_the_published_classes():
    names, indices = list(IMAGENET_R_CLASSES), list(IMAGENET_R_CLASSES.values())
    assert hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()[:16] == "e19a59d84e3746fa"
    assert names == sorted(names)
    assert len(indices) == 200
    assert indices == sorted(set(indices))
    assert (indices[:10], indices[-3:]) == ([1, 2, 4, 6, 8, 9, 11, 13, 22, 23], [981, 983, 988])


def test_imagenet_r_of_a_model_without_names(imagenet_r):
    source = open_benchmark(imagenet_r, name="imagenet_r")
    assert source.classes == list(IMAGENET_R_CLASSES)
    assert right_folders(source, CLASSES) == [{name} for name in folder_of(source)]
    assert (source.num_expected, source.border, source.kind) == (30_000, 0, "imagenet_r")
    assert source.remarks == ["200 images, expected 30,000"]


def test_only_the_readme_of_imagenet_r_is_passed_over_in_silence(imagenet_r, tmp_path):
    assert not open_benchmark(imagenet_r, name="imagenet_r").skipped
    root = shutil.copytree(imagenet_r, tmp_path / "r")
    (root / "n01443537" / "art.pdf").write_bytes(b"%PDF")
    assert ".pdf" in open_benchmark(root, name="imagenet_r").skipped


def test_imagenet_r_follows_the_names_of_the_model(imagenet_r):
    shuffled = CLASSES[::-1]
    source = open_benchmark(imagenet_r, name="imagenet_r", classes=shuffled, num_expected=200)
    assert right_folders(source, shuffled) == [{name} for name in folder_of(source)]
    assert source.remarks == []


def test_english_names_of_imagenet_count_as_none(imagenet_r):
    from mmpretrain.datasets.categories import IMAGENET_CATEGORIES

    source = open_benchmark(imagenet_r, name="imagenet_r", classes=list(IMAGENET_CATEGORIES))
    assert source.label_sets[0] == (1,)


def test_class_names_may_come_from_a_file(imagenet_r, tmp_path):
    (tmp_path / "classes.txt").write_text("\n".join(CLASSES[::-1]))
    source = open_benchmark(imagenet_r, name="imagenet_r", classes_file=str(tmp_path / "classes.txt"))
    assert right_folders(source, CLASSES[::-1]) == [{name} for name in folder_of(source)]
    assert source.model_classes == CLASSES[::-1]
    source = open_benchmark(imagenet_r, name="imagenet_r", classes=CLASSES, classes_file=str(tmp_path / "classes.txt"))
    assert source.model_classes == CLASSES


def test_imagenet_r_names_folders_that_are_missing_or_not_expected(imagenet_r, tmp_path):
    root = tmp_path / "r"
    shutil.copytree(imagenet_r, root)
    (root / "n02123045").rename(root / "n99999999")
    shutil.rmtree(root / "n01443537")
    message = r"2 missing \('n01443537', 'n02123045'\); 1 not expected \('n99999999'\)"
    for classes in (None, CLASSES):
        with pytest.raises(ValueError, match=message):
            open_benchmark(root, name="imagenet_r", classes=classes)
    with pytest.raises(ValueError, match="1 not expected"):
        open_benchmark(root, name="imagenet_r", subset=True)


def test_part_of_imagenet_r_keeps_all_its_classes(imagenet_r, tmp_path):
    root = tmp_path / "r"
    shutil.copytree(imagenet_r, root)
    shutil.rmtree(root / "n01443537")
    source = open_benchmark(root, name="imagenet_r", subset=True)
    assert len(source.label_sets) == 200
    assert right_folders(source, CLASSES) == [{name} for name in folder_of(source)]
    assert source.remarks[0] == "1 of 200 classes have no images: 'n01443537'"


def test_imagenet_r_refuses_a_model_of_other_classes(imagenet_r):
    with pytest.raises(ValueError, match=r"the model lacks 200 of them: n01443537.*it has 'cat', 'dog'"):
        open_benchmark(imagenet_r, name="imagenet_r", classes=["cat", "dog"])


def test_sketch_counts_images_and_reads_grey_ones_as_rgb(tmp_path):
    root = trees.imagenet_sketch(tmp_path / "sketch")
    named = open_benchmark(root, name="imagenet_sketch", classes=CLASSES[::-1])
    unnamed = open_benchmark(root, name="imagenet_sketch")
    assert named.remarks == unnamed.remarks == ["1,000 images, expected 50,889"]
    assert [sets[0] for sets in unnamed.label_sets] == list(range(1000))
    assert right_folders(named, CLASSES[::-1]) == [{name} for name in folder_of(named)]
    assert named.load(3, 3)[0].mode == "RGB"
    (root / CLASSES[7]).rename(root / "n99999999")
    with pytest.raises(ValueError, match=f"1 missing .'{CLASSES[7]}'.*1 not expected .'n99999999'"):
        open_benchmark(root, name="imagenet_sketch", classes=CLASSES)
    with pytest.raises(ValueError, match="'n01518878' as class 8, expected 'n01514859'"):
        open_benchmark(root, name="imagenet_sketch")
    shutil.rmtree(root / "n99999999")
    with pytest.raises(ValueError, match=r"found 999 folders: .*classes_file"):
        open_benchmark(root, name="imagenet_sketch")


def test_part_of_sketch_says_how_many_classes_it_has(tmp_path):
    root = trees.imagenet_sketch(tmp_path, classes=CLASSES[5:8])
    source = open_benchmark(root, name="imagenet_sketch", classes=CLASSES, subset=True)
    assert (source.label_sets, source.convention) == ([(5,), (6,), (7,)], "3 of 1000 classes")


def test_sketch_refuses_a_model_of_other_classes(tmp_path):
    with pytest.raises(ValueError, match=r"ImageNet-Sketch needs a model of .* 1000 classes, and this one has 2"):
        open_benchmark(tmp_path, name="imagenet_sketch", classes=["cat", "dog"])


@pytest.mark.parametrize("inner", ["", "..", "images"])
def test_objectnet_takes_mapped_folders_with_all_their_classes(objectnet, inner):
    source = open_benchmark(objectnet / inner, name="objectnet")
    assert source.classes == ["banana", "bicycle", "chair"]
    assert source.label_sets == [(954,), (444, 671), (423, 559, 765)]
    assert folder_of(source) == [source.classes[label] for label in source.labels]
    assert (source.border, source.num_expected, source.num_left_out) == (2, 18_574, 2)
    assert source.remarks == ["3 folders are mapped to 6 classes, expected 113 and 125", "3 images, expected 18,574"]
    assert source.convention == "any class of the label is right, 6 classes in all"


def test_objectnet_follows_the_order_of_the_model(objectnet):
    source = open_benchmark(objectnet, name="objectnet", classes=CLASSES[::-1])
    assert source.label_sets == [(45,), (328, 555), (234, 440, 576)]


@pytest.mark.parametrize("inner", ["", "/images", "/images/"])
def test_objectnet_of_an_object_storage(objectnet, inner):
    fsspec.filesystem("memory").put(str(objectnet), "/objectnet-1.0", recursive=True)
    source = open_benchmark(f"memory://objectnet-1.0{inner}", name="objectnet")
    assert source.label_sets == [(954,), (444, 671), (423, 559, 765)]
    assert source.load(2, 3)[0].size == (12, 12)


def test_objectnet_needs_no_folders_without_a_class(objectnet):
    shutil.rmtree(objectnet / "images/briefcase")
    for file in (objectnet / "images/air_freshener").iterdir():
        file.unlink()
    assert len(open_benchmark(objectnet, name="objectnet")) == 3


def test_objectnet_names_folders_that_are_missing_or_unknown(objectnet):
    (objectnet / "images/chair").rename(objectnet / "images/chairs")
    with pytest.raises(ValueError, match=r"1 missing \('chair'\); 1 not expected \('chairs'\)"):
        open_benchmark(objectnet, name="objectnet")


def test_objectnet_without_a_mapped_folder_is_refused(objectnet):
    for name in trees.OBJECTNET:
        shutil.rmtree(objectnet / "images" / name)
    with pytest.raises(ValueError, match=r"images holds none of the 3 class folders .*, such as 'banana'"):
        open_benchmark(objectnet, name="objectnet")


@pytest.mark.parametrize("classes", [["cat"], [f"{n}" for n in range(1000)], [f"n{n:08}" for n in range(1000)]])
def test_objectnet_refuses_a_model_of_other_classes(objectnet, classes):
    with pytest.raises(ValueError, match="ObjectNet needs a model of ImageNet's 1000 classes"):
        open_benchmark(objectnet, name="objectnet", classes=classes)


def test_objectnet_says_where_it_searched(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"objectnet-1.0/images with .*objectnet-1.0/mappings.*\.\./mappings"):
        open_benchmark(tmp_path, name="objectnet")


@pytest.mark.parametrize("file", trees.FILES)
def test_objectnet_names_a_missing_mapping_file(objectnet, file):
    (objectnet / "mappings" / file).unlink()
    with pytest.raises(FileNotFoundError, match=f"mappings lacks {file}"):
        open_benchmark(objectnet, name="objectnet")


FOLDERS, LABELS, NUMBERS, NAMES = trees.FILES


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (FOLDERS, "{", "not valid JSON"),
        (FOLDERS, "[]", "holds a JSON list"),
        (FOLDERS, "[" * 100_000, "not valid JSON"),
        (FOLDERS, '{"chair": "A", "chair": "B"}', "the key 'chair' occurs twice"),
        (FOLDERS, '{"chair": "A", "stool": "A"}', "the folders 'chair' and 'stool' have the label 'A'"),
        (FOLDERS, '{"../chair": "Chair"}', "'../chair' is no name of a class folder"),
        (FOLDERS, '{"..": "Chair"}', "is no name of a class folder"),
        (FOLDERS, '{"": "Chair"}', "'' is no name of a class folder"),
        (FOLDERS, '{"a\\\\b": "Chair"}', "is no name of a class folder"),
        (FOLDERS, '{"chair": 3}', "the label of 'chair' is 3, expected text"),
        (FOLDERS, '{"chair": "\\ud800"}', "expected text"),
        (FOLDERS, '{"chair": "Chair"}', "'Bicycle' is the label of no folder"),
        (FOLDERS, " " * 2**22 + "{}", "more than 4,194,304 bytes"),
        (LABELS, "{}", "maps no label"),
        (LABELS, '{"Chair": ["class 3, thing"]}', "'Chair' is .*expected text"),
        (LABELS, '{"Chair": "sofa"}', "mapped to 'sofa', which is not a class"),
        (LABELS, '{"Chair": "class 3, thing; class 3, thing"}', "mapped to a class twice"),
        (LABELS, '{"Chair": "class 3, thing", "Banana": "class 3, thing"}', "'Banana' and 'Chair' are mapped to the s"),
        (LABELS, '{"Chair": ""}', "mapped to '', which is not a class"),
        (NUMBERS, "{}", "1000 lines and .* 0 entries; expected 1000"),
        (NUMBERS, json.dumps({str(n): 0 for n in range(1000)}), "1 is mapped to 0; expected each of 0..999 once"),
        (NUMBERS, json.dumps({str(n): n + 1 for n in range(1000)}), "999 is mapped to 1000"),
        (NUMBERS, json.dumps({str(n): -1 for n in range(1000)}), "0 is mapped to -1"),
        (NUMBERS, json.dumps({str(n): str(n) for n in range(1000)}), "0 is mapped to '0'"),
        (NUMBERS, json.dumps({str(n): True for n in range(1000)}), "0 is mapped to True"),
        (NUMBERS, json.dumps({str(n + 1): n for n in range(1000)}), "1000 is mapped to 999"),
        (NUMBERS, json.dumps({f"0{n}": n for n in range(1000)}), "'00' is no class index"),
        (NUMBERS, json.dumps({"\N{SUPERSCRIPT TWO}" + str(n): n for n in range(1000)}), "is no class index"),
        (NAMES, "one\ntwo\n", "2 lines and .* 1000 entries"),
        (NAMES, "class 423, thing\n" * 1000, "'class 423, thing', which is the name of 1000 classes"),
        (NAMES, "class 954, thing\n" * 1000, "'Chair' is mapped to 'class 423, thing', which is not a class"),
    ],
)
def test_objectnet_refuses_mappings_that_are_damaged_or_disagree(objectnet, file, content, message):
    (objectnet / "mappings" / file).write_text(content)
    with pytest.raises(ValueError, match=message):
        open_benchmark(objectnet, name="objectnet")


def test_objectnet_names_a_class_name_that_two_classes_have(objectnet):
    """Two of ImageNet's classes are called crane: an error only where a label needs the name."""
    names = (objectnet / "mappings" / NAMES).read_text().splitlines()
    for twin, fine in ((0, True), (999 - 954, False)):
        changed = list(names)
        changed[twin] = names[1] if fine else names[999 - 423]
        (objectnet / "mappings" / NAMES).write_text("\n".join(changed))
        if fine:
            assert len(open_benchmark(objectnet, name="objectnet")) == 3
            continue
        with pytest.raises(ValueError, match="'class 423, thing', which is the name of 2 classes"):
            open_benchmark(objectnet, name="objectnet")


def test_folders_of_own_classes_in_the_order_of_the_model(tmp_path):
    root = trees.class_folders(tmp_path / "own", ["bee", "ant", "cat"], per_class=2)
    source = open_benchmark(root, name="folders", classes=["cat", "bee", "ant"], num_expected=7)
    assert source.classes == ["ant", "bee", "cat"]
    assert source.label_sets == [(2,), (1,), (0,)]
    assert source.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert (source.convention, source.remarks) == ("all 3 classes", ["6 images, expected 7"])


def test_folders_of_some_of_the_classes_where_that_is_declared(tmp_path):
    root = trees.class_folders(tmp_path / "own", ["bee", "cat"])
    classes = ["cat", "bee", "ant"]
    with pytest.raises(ValueError, match=r"1 missing \('ant'\).*subset=True"):
        open_benchmark(root, name="folders", classes=classes)
    source = open_benchmark(root, name="folders", classes=classes, subset=True)
    assert (source.classes, source.label_sets) == (["bee", "cat"], [(1,), (0,)])
    assert (source.convention, source.remarks) == ("2 of 3 classes", ["1 of 3 classes have no images: 'ant'"])
    with pytest.raises(ValueError, match=r"2 missing .*2 not expected \('bee', 'cat'\)"):
        open_benchmark(root, name="folders", classes=["x", "y"], subset=True)


def test_folder_of_a_corruption_is_told_from_one_of_a_severity(tmp_path):
    root = trees.imagenet_c(tmp_path, ["ant", "bee"])
    assert open_benchmark(root / "3", name="folders", classes=["ant", "bee"]).label_sets == [(0,), (1,)]
    with pytest.raises(ValueError, match=r"lie in '1', '2', '3', '4', '5': name one of these"):
        open_benchmark(root, name="folders", classes=["ant", "bee"])


def test_names_that_differ_in_their_unicode_form_are_told(tmp_path):
    root = trees.class_folders(tmp_path, ["cafe\N{COMBINING ACUTE ACCENT}"])
    with pytest.raises(ValueError, match="differ in the Unicode form"):
        open_benchmark(root, name="folders", classes=["caf\N{LATIN SMALL LETTER E WITH ACUTE}"])


def test_folders_of_a_model_without_names_must_be_imagenets(tmp_path):
    root = trees.class_folders(tmp_path / "own", ["bee", "ant"])
    with pytest.raises(ValueError, match=r"the model's classes have no names.*found 2 folders: 'ant', 'bee'"):
        open_benchmark(root, name="folders")


def test_empty_class_folder_is_named(tmp_path):
    root = trees.class_folders(tmp_path / "own", ["bee", "ant"])
    (root / "cat").mkdir()
    with pytest.raises(ValueError, match="class folder 'cat' holds no image"):
        open_benchmark(root, name="folders", classes=["bee", "ant", "cat"])


def test_lists_and_arrays_are_benchmarks_too(tmp_path):
    trees.class_folders(tmp_path / "own", ["bee", "ant"])
    (tmp_path / "named.csv").write_text("path,label\nown/bee/0.png,bee\nown/ant/0.png,ant\n")
    source = open_benchmark(tmp_path / "named.csv", name="folders", classes=["bee", "ant"])
    assert right_folders(source, ["bee", "ant"]) == [{"bee"}, {"ant"}]
    (tmp_path / "numbers.txt").write_text("own/bee/0.png 0\nown/ant/0.png 1\n")
    for classes in (["bee", "ant"], None):
        source = open_benchmark(tmp_path / "numbers.txt", name="folders", classes=classes, subset=True)
        assert [source.label_sets[label] for label in source.labels] == [(0,), (1,)]
    (tmp_path / "ants.txt").write_text("own/ant/0.png 1\n")
    source = open_benchmark(tmp_path / "ants.txt", name="folders", classes=["bee", "ant"], subset=True)
    assert (source.label_sets, source.labels.tolist(), source.convention) == ([(1,)], [0], "1 of 2 classes")
    with pytest.raises(ValueError, match="has label 1, the model has 1 classes"):
        open_benchmark(tmp_path / "numbers.txt", name="folders", classes=["bee"])
    with pytest.raises(ValueError, match="nothing says whether they count"):
        open_benchmark(tmp_path / "numbers.txt", name="imagenet_r")
    np.savez(tmp_path / "few.npz", images=np.zeros((2, 8, 8), np.uint8), labels=np.array([1, 0]))
    source = open_benchmark(tmp_path / "few.npz", name="folders", classes=["bee", "ant"])
    assert [source.label_sets[label] for label in source.labels] == [(1,), (0,)]
    assert source.load(0, 3)[0].size == (8, 8)


@pytest.mark.parametrize("name", ["imagenet_r", "folders"])
def test_images_without_a_class_are_refused(tmp_path, name):
    trees.class_folders(tmp_path, ["own"])
    with pytest.raises(ValueError, match="images without a class"):
        open_benchmark(tmp_path / "own", name=name)


@pytest.mark.parametrize("name", ["imagenet_r", "imagenet_sketch", "folders"])
def test_empty_folder_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match="holds no images: no files"):
        open_benchmark(tmp_path, name=name)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        open_benchmark(tmp_path / "none", name=name)


def test_wrong_options_are_refused(tmp_path, objectnet):
    with pytest.raises(ValueError, match="no robustness set is called 'imagenet_a'; expected one of imagenet_r,"):
        open_benchmark(tmp_path, name="imagenet_a")
    for classes in ("ab", []):
        with pytest.raises(ValueError, match="expected the names of the model's classes"):
            open_benchmark(tmp_path, name="folders", classes=classes)
    with pytest.raises(ValueError, match="the model has classes of the same name: 'ant'"):
        open_benchmark(tmp_path, name="folders", classes=["ant", "ant"])
    with pytest.raises(ValueError, match="max_pixels is 0"):
        open_benchmark(objectnet, name="objectnet", max_pixels=0)
    with pytest.raises(ValueError, match="split means nothing for ObjectNet"):
        open_benchmark(objectnet, name="objectnet", split="val")


def test_differences_are_logged(objectnet, monkeypatch):
    lines = []
    for level in ("warning", "info"):
        monkeypatch.setattr(MMLogger.get_current_instance(), level, lines.append)
    open_benchmark(objectnet, name="objectnet")
    assert f"{objectnet} (objectnet): 3 images, expected 18,574" in lines
    assert lines[-1].endswith("2 images in folders of no class are left out, by the rule")


def test_source_goes_to_workers(objectnet):
    source = pickle.loads(pickle.dumps(open_benchmark(objectnet, name="objectnet")))
    assert source.load(2, 3)[0].size == (12, 12)
    with pytest.raises(UnreadableImageError, match="more than the 143 allowed"):
        open_benchmark(objectnet, name="objectnet", max_pixels=143).load(2, 3)
    assert source.read(0).startswith(b"\x89PNG")
    assert source.describe()["kind"] == "objectnet"
    assert source.warnings()[:2] == source.remarks
