"""A page of runs, data and faces that lives: it reads run and data directories, and changes nothing in them."""
