"""Use a released model on images, videos and cameras. No torch anywhere in here."""
