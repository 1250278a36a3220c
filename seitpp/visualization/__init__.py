"""Pictures for people: what augmentations do, label maps over images, grids with captions."""
