"""SeiT++'s pipeline from scratch for the quickstart: half of the samples through TokenAdapt, then colour, CutMix."""

_base_ = "./digits_parts.py"

half_adapted = dict(type="seitpp.SplitBatch", share=0.5, first=[], second=[_base_.adapted])
cutmix_of_the_others = dict(type="seitpp.SplitBatch", by="same", first=[_base_.rare_cutmix], second=[])
augments = [half_adapted, _base_.colour_change, cutmix_of_the_others]
