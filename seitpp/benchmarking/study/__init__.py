"""The study: all methods on one set of real images, over shares of the images and seeds, with tables from the logs."""
