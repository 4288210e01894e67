"""Networks: encoder, masked autoencoder, gradient reversal, the IAT model."""
