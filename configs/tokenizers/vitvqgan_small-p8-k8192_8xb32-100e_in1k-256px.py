"""ViT-VQGAN's small model on ImageNet-1k, 256 x 256 pixels to 32 x 32 codes (Yu et al. 2021, `ViT-VQGAN-SS`).

    bash tools/dist_train.sh configs/tokenizers/vitvqgan_small-p8-k8192_8xb32-100e_in1k-256px.py 8 --amp

Expect: not run here, neither whole nor in part at this size. Reads ImageNet's images, and downloads VGG-16 for the
perceptual loss. The result is a tokenizer: `dict(type="seitpp.ViTVQGAN", arch="small", checkpoint="...")`.

From the paper: sizes, codebook, batch, steps, optimizer, schedule, commitment 0.25, weights 1 (squared error) and 0.1
(perceptual, adversarial). From the public implementation (thuanz123/enhancing-transformers): no logit-Laplace term,
where the paper adds one of weight 0.1; a constant adversarial weight. Ours, different from both: a patch discriminator
in place of StyleGAN's, one constant weight per layer in the perceptual distance, k-means for the first codes and new
vectors for dead ones.
"""

_base_ = [
    "../_base_/datasets/in1k_images-256px.py",
    "../_base_/schedules/vq_tokenizer_adamw_8xb32-100e.py",
    "../_base_/default_runtime.py",
]

model = dict(
    type="seitpp.VQTokenizerTrainer",
    tokenizer=dict(type="seitpp.ViTVQGAN", arch="small", codebook_size=8192, code_dim=32, image_size=256, patch_size=8),
    codebook=dict(rule="gradient"),
    perceptual=dict(
        weight=0.1,
        backbone=dict(
            type="mmpretrain.VGG",
            depth=16,
            out_indices=(0, 1, 2, 3, 4),  # after each pooling; LPIPS reads the layer before
            init_cfg=dict(
                type="Pretrained",
                checkpoint="https://download.openmmlab.com/mmclassification/v0/vgg/vgg16_batch256_imagenet_20210208-db26f1a5.pth",
                prefix="backbone.",
            ),
        ),
    ),
    adversarial=dict(
        discriminator=dict(type="seitpp.PatchDiscriminator", norm_cfg=dict(type="BN")),
        weight=0.1,
        # "decoder.to_pixels.weight" for VQGAN's adaptive weight, with weight=0.8.
        last_layer=None,
    ),
)
# The paper decays the generator's weights alone.
optim_wrapper = dict(discriminator=dict(optimizer=dict(weight_decay=0.0)))
default_hooks = dict(checkpoint=dict(save_best="reconstruction/psnr", rule="greater"))
