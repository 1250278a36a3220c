"""TokenAdapt: its network, and the model that trains it (SeiT++, Sec. 3.3)."""

from seitpp.models.token_adapt.pretrain import TokenAdaptPretrain
from seitpp.models.token_adapt.token_adapt import TokenAdapt

__all__ = ["TokenAdapt", "TokenAdaptPretrain"]
