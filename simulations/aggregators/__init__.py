"""Ways in which updates become one model, compared where sites are unlike and where one lies."""
