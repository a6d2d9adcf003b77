"""What `fer train` checks before a second is spent: a module a kind of fault, all faults in one answer."""
