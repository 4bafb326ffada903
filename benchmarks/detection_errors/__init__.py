"""How well errors of real detectors are found, box by box."""
