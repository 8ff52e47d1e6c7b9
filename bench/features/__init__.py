"""From images to descriptors: RootSIFT, VLAD, pooling, and the store that keeps them."""
