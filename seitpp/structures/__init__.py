"""What a batch is, and what goes with it: draws of augmentations, seeds, class names, the record of a grid."""
