"""SeiT's pipeline for the OpenImages VQGAN's codes."""

_base_ = "./seit.py"

token_eda = dict(_base_.token_eda, synonyms="data/imagenet100-vqgan-tokens/synonyms.json")
augments = [token_eda, *_base_.on_embeddings]
