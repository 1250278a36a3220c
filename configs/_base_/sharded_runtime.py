"""Weights, gradients and moments sharded over the processes (FSDP); a run of one process leaves this out."""

runner_type = "FlexibleRunner"
strategy = dict(type="seitpp.FSDPStrategy")
