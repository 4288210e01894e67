"""What is learned: the MAE encoder and identity adversarial training. Knows no Flower and no consent."""
