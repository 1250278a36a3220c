"""Storage-efficient vision training on stored VQ tokens, after SeiT++ (Lee et al., ECCV 2024).

Importing the package is light: the registries name where each part lives and load it when a config asks for it.
"""

import warnings

# mmcv without compiled operators says so at its first import, and advises a package that must not be installed here.
warnings.filterwarnings("ignore", message="Fail to import ``MultiScaleDeformableAttention``")

__version__ = "0.2.0"
