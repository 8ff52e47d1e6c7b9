"""What training needs: triplets to train on, losses, learning rates."""
