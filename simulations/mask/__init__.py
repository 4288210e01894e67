"""Take the identity out of a face and keep the expression, as far as that goes."""
