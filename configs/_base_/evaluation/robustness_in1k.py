"""Table 5 of SeiT++: noise and blur, ImageNet-R, ImageNet-Sketch and ObjectNet, for any classifier of ImageNet-1k.

tools/test_robustness.py reads it, also for configs that lack it; docs/benchmarks.md says how the data are laid out.
"""

severities = [1, 2, 3, 4, 5]

robustness = dict(
    data_root="data/",
    # Folders of classes, or whatever else tools/test.py --images takes.
    clean=dict(source="imagenet/val", num_expected=50_000),
    # The folder of ImageNet-C's published images (gaussian_noise/1/ and so on) in place of corruptions on the fly.
    imagenet_c=None,
    benchmarks=dict(
        gaussian_noise=dict(title="Gaussian noise", corruption="gaussian_noise", severities=severities),
        gaussian_blur=dict(title="Gaussian blur", corruption="gaussian_blur", severities=severities),
        imagenet_r=dict(title="ImageNet-R", layout="imagenet_r", source="imagenet-r"),
        imagenet_sketch=dict(title="ImageNet-Sketch", layout="imagenet_sketch", source="sketch"),
        objectnet=dict(title="ObjectNet", layout="objectnet", source="objectnet-1.0"),
    ),
    # Top-1 in % of ViT-B. The paper names no severity, and scores the raw weights.
    paper={
        "SeiT": dict(
            clean=74.0, gaussian_noise=50.7, gaussian_blur=62.6, imagenet_r=25.5, imagenet_sketch=22.6, objectnet=15.7
        ),
        "SeiT++ w/o MTM": dict(
            clean=75.5, gaussian_noise=58.6, gaussian_blur=66.8, imagenet_r=30.2, imagenet_sketch=27.7, objectnet=18.3
        ),
    },
)
