"""How good a net is: exact scores of a run, and what they say."""
