"""scikit-learn's handwritten digits as 8 x 8 grey PNG files and lists of classes; written by tools/quickstart.sh."""

_base_ = "./fashion-mnist_pixels.py"

data_root = "work_dirs/quickstart/images/"
image_size = 8
classes = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]

crop = dict(_base_.crop, scale=image_size)
resize = dict(_base_.resize, scale=(image_size, image_size))
listed = dict(data_root=data_root, metainfo=dict(classes=classes))
train_dataloader = dict(
    dataset=dict(listed, ann_file="train.txt", pipeline=[_base_.loading_step, crop, _base_.packing])
)
val_dataloader = dict(dataset=dict(listed, ann_file="val.txt", pipeline=[_base_.loading_step, resize, _base_.packing]))
test_dataloader = val_dataloader
