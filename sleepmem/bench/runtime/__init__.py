"""What the runtime costs beside the least that the machine could do, measured in one run."""
