"""Storage-efficient vision training on stored VQ tokens, after SeiT++ (Lee et al., ECCV 2024).

Importing the package is light: the registries name where each part lives and load it when a config asks for it.
"""

__version__ = "0.2.0"
