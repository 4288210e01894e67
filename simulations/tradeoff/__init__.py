"""How much F1 does it cost, or bring, to take identity out? A grid of trainings in one place."""
