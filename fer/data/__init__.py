"""FER2013's data: sources of faces, what is wrong with them, and the data directory made of them."""
