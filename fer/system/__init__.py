"""What fer asks of the machine: files written atomically, helper processes, hardware."""
