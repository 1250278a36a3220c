"""Scores in the log: TokenAdapt's as tables, and losses of a validation as they are."""

from types import SimpleNamespace

from mmengine.logging import HistoryBuffer

from seitpp.engine import TableLogProcessor


def test_scores_of_token_adapt_stand_in_tables_and_others_in_the_line() -> None:
    scores = {
        "token_adapt/accuracy": 50.0,
        "token_adapt/flip_accuracy": 75.0,
        "token_adapt/flip_accuracy_direct": 25.0,
        "token_adapt/colour_shift_accuracy": 25.5,
        "token_adapt/flip_psnr_tokenizer": 35.0,
        "accuracy/top1": 10.0,
    }
    hub = SimpleNamespace(
        log_scalars={f"test/{key}": HistoryBuffer([value], [1]) for key, value in scores.items()}, runtime_info={}
    )
    runner = SimpleNamespace(message_hub=hub, test_loop=SimpleNamespace(dataloader=[0, 0]), test_dataloader=[0, 0])
    tag, text = TableLogProcessor(window_size=1).get_log_after_epoch(runner, 2, "test")
    assert tag == scores
    assert text.splitlines() == [
        "Epoch(test) [2/2]    token_adapt/accuracy: 50.0000  accuracy/top1: 10.0000",
        "tokens right, %      flip  colour_shift",
        "TokenAdapt          75.00         25.50",
        "embeddings changed  25.00             -",
        "PSNR, dB      flip",
        "true tokens  35.00",
    ]


def test_loss_of_a_validation_is_its_own_and_that_of_training_a_mean() -> None:
    history = {key: HistoryBuffer([4.0, 1.0], [1, 1]) for key in ("train/loss", "val/loss", "val/loss_origin")}
    loader = SimpleNamespace(dataloader=[0, 0])
    hub = SimpleNamespace(log_scalars=history, runtime_info={})
    runner = SimpleNamespace(message_hub=hub, val_loop=loader, train_loop=loader, val_dataloader=[0, 0], epoch=2)
    processor = TableLogProcessor(window_size=50, by_epoch=False)
    tag, text = processor.get_log_after_epoch(runner, 2, "val")
    assert tag == {"loss": 1.0, "loss_origin": 1.0} and "loss: 1.0000" in text
    assert processor._collect_scalars([], runner, "train") == {"loss": 2.5}
