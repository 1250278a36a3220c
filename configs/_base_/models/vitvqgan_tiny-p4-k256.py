"""ViT-VQGAN for 32 x 32 pixels, small enough for a CPU: 8 x 8 codes of 256."""

stack = dict(dims=96, depth=2, num_heads=4, head_dims=24, mlp_dims=192)
tokenizer = dict(
    type="seitpp.ViTVQGAN",
    arch=dict(encoder=stack, decoder=stack),
    codebook_size=256,
    code_dim=16,
    image_size=32,
    patch_size=4,
    tile_size=32,
)
