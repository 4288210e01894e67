"""What is learned: MAE encoder and identity adversarial training. Knows no consent."""
