"""Does sleep help? The claims of the paper, trained, measured and drawn."""
