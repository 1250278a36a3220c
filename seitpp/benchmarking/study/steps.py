"""The jobs of the study's steps, from the configs in configs/study/, the most important ones first."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from seitpp.benchmarking.study.jobs import Commands, Job
from seitpp.benchmarking.study.methods import (
    ADAPTS,
    CLAIM,
    DCT,
    ENCODERS,
    KNN,
    LINEAR,
    METHODS,
    STEPS,
    TOKEN_ADAPT,
    TOKENIZERS,
    Method,
)
from seitpp.benchmarking.study.plan import UNTRAINED, Study
from seitpp.benchmarking.study.records import last_validation

_SPLITS = ("train", "val", "test")
_CORRUPTIONS = ("gaussian_noise", "gaussian_blur")


def study_jobs(study: Study, steps: Collection[str] = tuple(STEPS)) -> list[Job]:
    """Return the jobs of some steps, in the order in which they are worth most."""
    return [job for step, job in _planned(study) if step in steps]


def run_names(study: Study) -> list[str]:
    """Return the names of all runs of a study, that of the splits among them when these are there."""
    names = [job.folder.relative_to(study.out).as_posix() for _, job in _planned(study)]
    return list(dict.fromkeys([_data_name(study, "split"), *names]))


def _planned(study: Study) -> list[tuple[str, Job]]:
    """Return step and job, each job once, where it is first worth its time."""
    jobs: dict[Path, tuple[str, Job]] = {}
    for step, job in _by_worth(study):
        jobs.setdefault(job.folder, (step, job))
    return list(jobs.values())


def _by_worth(study: Study) -> Iterator[tuple[str, Job]]:
    """Yield step and job: what the study is about with all seeds, then what else one seed tells, then all."""
    main, seeds = study.size.main_share, range(study.size.seeds)
    if _needs_split(study):
        yield "data", _split(study)
    yield "data", _tokens(study, "tokens")
    yield "tokenadapt", _token_adapt(study)
    yield from _cells(study, CLAIM, main, seeds)
    yield from (("robustness", _robustness(study, name)) for name in CLAIM)
    yield from _parts(study, seeds[:1])
    yield from _cells(study, METHODS, main, seeds[:1])
    yield from _probes(study)
    for fraction, _ in study.size.shares[1:2]:
        yield from _cells(study, CLAIM, fraction, seeds[:1])
    yield from _parts(study, seeds)
    for fraction, count in study.size.shares:
        yield from _cells(study, METHODS, fraction, range(count))
    yield from (("robustness", _robustness(study, name)) for name in METHODS)


def _parts(study: Study, seeds: Sequence[int]) -> Iterator[tuple[str, Job]]:
    """Yield what shows one part of the method at a time."""
    yield from (("adapts", _score(study, name, study.size.main_share, seed)) for seed in seeds for name in ADAPTS)
    yield from _few_images(study, seeds)
    yield from _dct(study, seeds)


def _cells(study: Study, names: Iterable[str], fraction: float, seeds: Iterable[int]) -> Iterator[tuple[str, Job]]:
    """Yield all that some methods need at a share, one seed before the next."""
    for seed in seeds:
        for encoder in dict.fromkeys(METHODS[name].mtm for name in names):
            if encoder is not None:
                yield "encoders", _encoder(study, encoder, fraction, seed)
        if seed == 0 and fraction in study.rate_fractions:
            for name in names:
                yield from _rates(study, name, fraction, "rates")
        yield from (("scores", _score(study, name, fraction, seed)) for name in names)


def _rates(study: Study, name: str, fraction: float, step: str) -> Iterator[tuple[str, Job]]:
    method = _method(name)
    if method.rate_of is not None:
        return
    for rate in study.size.rates:
        run = study.rate_name(name, fraction, rate)
        trained = _classifier(study, run, method, fraction, 0, rate)
        yield step, _job(study, run, (trained,), _needs(study, method, fraction, 0))


def _few_images(study: Study, seeds: Iterable[int]) -> Iterator[tuple[str, Job]]:
    for images in study.size.token_adapt_images:
        yield "images", _token_adapt(study, images)
        for seed in seeds:
            yield "images", _score(study, "seitpp", study.size.main_share, seed, images)


def _dct(study: Study, seeds: Iterable[int]) -> Iterator[tuple[str, Job]]:
    yield "dct", _tokens(study, "dct")
    yield "dct", _token_adapt(study, data="dct")
    for name in DCT:
        yield from _rates(study, name, study.size.main_share, "dct")
    for seed in seeds:
        yield from (("dct", _score(study, name, study.size.main_share, seed)) for name in DCT)


def _probes(study: Study) -> Iterator[tuple[str, Job]]:
    untrained = f"{study.set.name}/encoders/{UNTRAINED}"
    # One iteration at the rate 0 leaves the weights as they were drawn.
    options = ["train_cfg.max_iters=1", "train_cfg.val_interval=1", "optim_wrapper.optimizer.lr=0"]
    main = study.size.main_share
    train = _pretraining(study, untrained, "mtm-seit", options, main, 0)
    yield "probes", _job(study, untrained, (train,), [_data_name(study, "tokens")])
    encoders = {name: study.encoder_name(name, main, 0) for name in ENCODERS}
    for name, run in {**encoders, UNTRAINED: untrained}.items():
        iters = 1 if name == UNTRAINED else study.size.mtm_iters
        checkpoint = str(study.out / run / f"iter_{iters}.pth")
        yield "probes", _knn(study, name, run, checkpoint)
        yield "probes", _linear(study, name, run, checkpoint)


def _split(study: Study) -> Job:
    """Return the job that holds images out."""
    first = () if study.size.first is None else ("--first", str(study.size.first))
    split = ("tools/dataset_converters/hold_out.py", str(study.images), str(study.data))
    return _job(study, _data_name(study, "split"), ((*split, "--last", str(study.size.held_out), *first),))


def _tokens(study: Study, data: str) -> Job:
    config = study.set.config(TOKENIZERS[data])
    line = ("tools/tokenize_images.py", config, str(study.data), str(study.store(data)), "--split", *_SPLITS)
    return _job(study, _data_name(study, data), (line,), _images_needed(study))


def _token_adapt(study: Study, images: int | None = None, data: str = "tokens") -> Job:
    name, config = study.token_adapt_name(images, data), study.set.config(TOKEN_ADAPT[data])
    options = [*_roots(study.data, wrapped=images is not None), *_schedule(study.size.token_adapt_iters)]
    if data == "tokens":
        options.append(f"model.tokenizer.codebook={study.store(data)}/train")
    more = () if images is None else ("--images", str(images))
    return _job(study, name, (_train(study, name, config, options, more),), [_data_name(study, data)])


def _encoder(study: Study, name: str, fraction: float, seed: int) -> Job:
    """Return a pre-training; it has the share's images alone, as its fine-tuning has."""
    run = study.encoder_name(name, fraction, seed)
    needs = [_data_name(study, "tokens")]
    if ENCODERS[name].needs_token_adapt:
        needs.append(study.token_adapt_name())
    line = _pretraining(study, run, name, _schedule(study.size.mtm_iters), fraction, seed)
    return _job(study, run, (line,), needs)


def _pretraining(
    study: Study, run: str, name: str, schedule: Sequence[str], fraction: float, seed: int
) -> tuple[str, ...]:
    encoder = ENCODERS[name]
    options = [*_store_options(study, "tokens"), *schedule, f"randomness.seed={seed}"]
    adapted = _adapted(study, study.token_adapt_name()) if encoder.needs_token_adapt else ()
    return _train(study, run, study.set.config(encoder.config), options, (*_share(fraction), *adapted))


def _score(study: Study, name: str, fraction: float, seed: int, images: int | None = None) -> Job:
    """Return a run that a table shows, tested on the test images; `images` are those of its TokenAdapt."""
    method = _method(name)
    run = study.score_name(name, fraction, seed) if images is None else study.few_images_name(images, seed)
    folder = study.out / run

    def commands() -> Commands:
        rate = _rate(study, name, fraction)
        tried = study.rate_name(name, fraction, rate)
        is_there = images is None and _is_tried(study, name, fraction, seed)
        tested = _trained(study, tried if is_there else run, method)
        test = ("tools/test.py", *tested, "--work-dir", str(folder), "--out", str(folder / "metrics.json"))
        trained = _classifier(study, run, method, fraction, seed, rate, images)
        return (test,) if is_there else (trained, test)

    needs = [*_needs(study, method, fraction, seed, images), *study.rate_names(name, fraction)]
    return Job(folder, commands, tuple(study.out / need for need in needs))


def _is_tried(study: Study, name: str, fraction: float, seed: int) -> bool:
    """Whether a cell was trained when the rates were chosen: the same command, in the folder of its rate."""
    return seed == 0 and fraction in study.rate_fractions and _method(name).rate_of is None


def _rate(study: Study, name: str, fraction: float) -> float:
    return study.rate(name, fraction, lambda tried: last_validation(study.out / tried))


def _robustness(study: Study, name: str) -> Job:
    """Return the test of a run that was trained when the rates were chosen."""
    run, share = study.robustness_name(name), study.size.main_share

    def commands() -> Commands:
        severities = str(list(study.size.severities)).replace(" ", "")
        tried = study.rate_name(name, share, _rate(study, name, share))
        line = ["tools/test_robustness.py", *_trained(study, tried, METHODS[name]), "--images", str(study.data)]
        line += ["--split", "test", "--only", *_CORRUPTIONS, "--out-dir", str(study.out / run), "--cfg-options"]
        return ((*line, *(f"robustness.benchmarks.{one}.severities={severities}" for one in _CORRUPTIONS)),)

    return Job(study.out / run, commands, tuple(study.out / need for need in study.rate_names(name, share)))


def _knn(study: Study, name: str, encoder: str, checkpoint: str) -> Job:
    run, store = study.probe_name("knn", name), study.store("tokens")
    folder = study.out / run
    roots = [f"{part}.dataset.data_root={store}/" for part in ("default_hooks.bank", "test_dataloader")]
    test = ("tools/test.py", study.set.config(KNN), checkpoint, "--work-dir", str(folder))
    options = [*roots, f"data_preprocessor.codebook={store}/train"]  # the stem follows the checkpoint
    line = (*test, "--out", str(folder / "metrics.json"), "--cfg-options", *options)
    return _job(study, run, (line,), [encoder])


def _linear(study: Study, name: str, encoder: str, checkpoint: str) -> Job:
    run, config = study.probe_name("linear", name), study.set.config(LINEAR)
    folder, iters = study.out / run, study.size.classifier_iters
    stem = ENCODERS[name].stem if name in ENCODERS else ()
    options = [*_store_options(study, "tokens"), *_schedule(iters), *stem]
    options.append(f"model.backbone.init_cfg.checkpoint={checkpoint}")
    trained = (str(folder / Path(config).name), str(folder / f"iter_{iters}.pth"))
    test = ("tools/test.py", *trained, "--work-dir", str(folder), "--out", str(folder / "metrics.json"))
    return _job(study, run, (_train(study, run, config, options), test), [encoder])


def _classifier(
    study: Study, run: str, method: Method, fraction: float, seed: int, rate: float, images: int | None = None
) -> tuple[str, ...]:
    is_pixels = method.data == "pixels"
    options = _roots(study.data, wrapped=fraction < 1) if is_pixels else _store_options(study, method.data)
    if method.mtm is not None:
        encoder = study.out / study.encoder_name(method.mtm, fraction, seed) / f"iter_{study.size.mtm_iters}.pth"
        options.append(f"model.backbone.init_cfg.checkpoint={encoder}")
    options += [*_schedule(study.size.classifier_iters), *method.options, f"randomness.seed={seed}"]
    options.append(f"optim_wrapper.optimizer.lr={rate:g}")
    adapted = _adapted(study, study.token_adapt_name(images, method.data)) if method.needs_token_adapt else ()
    return _train(study, run, study.set.config(method.config), options, (*_share(fraction), *adapted))


def _needs(study: Study, method: Method, fraction: float, seed: int, images: int | None = None) -> list[str]:
    """Return the names of what a classifier's training reads."""
    needs = _images_needed(study) if method.data == "pixels" else [_data_name(study, method.data)]
    if method.needs_token_adapt:
        needs.append(study.token_adapt_name(images, method.data))
    if method.mtm is not None:
        needs.append(study.encoder_name(method.mtm, fraction, seed))
    return needs


def _trained(study: Study, run: str, method: Method) -> tuple[str, str]:
    """Return the config of a run, with the options of its training, and its checkpoint."""
    config = study.out / run / Path(study.set.config(method.config)).name
    return str(config), str(study.out / run / f"iter_{study.size.classifier_iters}.pth")


def _train(study: Study, run: str, config: str, options: Sequence[str], more: Sequence[str] = ()) -> tuple[str, ...]:
    train = ("tools/train.py", config, "--resume", "--work-dir", str(study.out / run), *more)
    return (*train, "--cfg-options", *options)


def _adapted(study: Study, token_adapt: str) -> tuple[str, ...]:
    return ("--token-adapt", str(study.out / token_adapt / f"iter_{study.size.token_adapt_iters}.pth"))


def _store_options(study: Study, data: str) -> list[str]:
    store = study.store(data)
    return [*_roots(store), *([f"data_preprocessor.codebook={store}/train"] if data == "tokens" else [])]


def _job(study: Study, run: str, commands: Commands, needs: Sequence[str] = ()) -> Job:
    return Job(study.out / run, lambda: commands, tuple(study.out / need for need in needs))


def _method(name: str) -> Method:
    return {**METHODS, **ADAPTS, **DCT}[name]


def _data_name(study: Study, data: str) -> str:
    return f"{study.set.name}/data/{data}"


def _images_needed(study: Study) -> list[str]:
    return [_data_name(study, "split")] if _needs_split(study) else []


def _needs_split(study: Study) -> bool:
    """Whether the splits are still to be made; they may also have been made by hand."""
    return not study.data.is_dir()


def _roots(folder: Path, wrapped: bool = False) -> list[str]:
    """Return the options that name the data; a share of images is a data set around that of the images."""
    inner = {"train": "dataset.dataset"} if wrapped else {}
    return [f"{split}_dataloader.{inner.get(split, 'dataset')}.data_root={folder}/" for split in _SPLITS]


def _share(fraction: float) -> tuple[str, ...]:
    return () if fraction == 1 else ("--fraction", f"{fraction:g}")


def _schedule(iters: int) -> list[str]:
    """Return the options of a run of so many iterations, a twentieth of them warm-up, scored at the end."""
    return [
        f"train_cfg.max_iters={iters}",
        f"train_cfg.val_interval={iters}",
        f"param_scheduler.end={iters}",
        f"param_scheduler.warmup={iters // 20}",
    ]
