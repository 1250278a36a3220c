"""The files that the authors of SeiT publish: reading them, importing them into a store, and writing them."""
